//! Lists the interfaces that another namespace sees: `interfaces /run/netns/NAME`, or `interfaces PID`.

use std::error::Error;
use std::{env, fs};

use inpod_netns::Namespace;

fn main() -> Result<(), Box<dyn Error>> {
    let argument = env::args().nth(1).ok_or("which namespace? give a path or the number of a process")?;
    let namespace = match argument.parse() {
        Ok(pid) => Namespace::of_process(pid)?,
        Err(_) => Namespace::open(&argument)?,
    };
    // /proc/thread-self/net is the view of the thread's namespace; /sys/class/net would be the mount's.
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    println!("{}", namespace.id());
    for name in table.lines().skip(2).filter_map(|line| line.split(':').next()) {
        println!("  {}", name.trim());
    }
    Ok(())
}
