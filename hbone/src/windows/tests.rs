//! The windows by example, and beside a peer that fills what it is given while most of its readers stall.

use proptest::prelude::*;

use super::*;

/// Announces without fail, and the peer acknowledges at once.
fn adapted(windows: &mut Windows, flow: &mut Flow) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut announce = |step| {
        steps.push(step);
        Ok::<_, ()>(())
    };
    while windows.adapt(*flow, &mut announce) {
        flow.acknowledged = windows.settings;
    }
    steps
}

/// All that was received was read, and is announced.
fn all_read(windows: &Windows, received: u64) -> Flow {
    let room = u64::from(windows.announced.connection);
    Flow { received, granted: received + room, acknowledged: windows.settings }
}

/// So much is held.
fn held(windows: &Windows, received: u64, held: u64) -> Flow {
    let room = u64::from(windows.announced.connection) - held;
    Flow { received, granted: received + room, acknowledged: windows.settings }
}

#[test]
fn they_double_with_what_is_taken_up_to_what_is_configured() {
    let mut windows = Windows::new(&Config::default());
    let mut sizes = vec![windows.announced];
    for received in (0..1_000_000_000).step_by(10_000) {
        let mut flow = all_read(&windows, received);
        if !adapted(&mut windows, &mut flow).is_empty() {
            sizes.push(windows.announced);
        }
    }
    let (streams, connections): (Vec<_>, Vec<_>) =
        sizes.iter().map(|size| (size.stream >> 10, size.connection >> 10)).unzip();
    assert_eq!(streams, [128, 256, 512, 1024, 2048, 4096]);
    assert_eq!(connections, [512, 1024, 2048, 4096, 8192, 16384]);
}

#[test]
fn one_window_that_nobody_reads_earns_nothing() {
    let mut windows = Windows::new(&Config::default());
    let mut flow = all_read(&windows, 2 * (512 << 10) - 1);
    assert_eq!(adapted(&mut windows, &mut flow), []);
    let mut flow = all_read(&windows, 2 * (512 << 10));
    assert_eq!(adapted(&mut windows, &mut flow), [Step::Streams(256 << 10), Step::Connection(1 << 20)]);
}

#[test]
fn smaller_than_the_first_stays_so() {
    let config = Config::default().with_stream_window(1000).unwrap().with_connection_window(70_000).unwrap();
    let mut windows = Windows::new(&config);
    let mut flow = all_read(&windows, 1 << 40);
    assert_eq!(adapted(&mut windows, &mut flow), []);
}

#[test]
fn what_is_not_acknowledged_or_cannot_be_announced_is_due_again() {
    let mut windows = Windows::new(&Config::default());
    let flow = all_read(&windows, 1 << 20);
    assert!(!windows.adapt(Flow { acknowledged: 0, ..flow }, |_| -> Result<(), ()> { unreachable!() }));
    assert!(!windows.adapt(flow, |_| Err(())));
    assert!(windows.adapt(flow, |step| (step == Step::Streams(256 << 10)).then_some(()).ok_or(())));
    assert!(!windows.adapt(flow, |_| -> Result<(), ()> { unreachable!() }), "the peer has not heard of it");
}

#[test]
fn the_more_is_held_the_less_may_each_hold_and_back() {
    let config = Config::default().with_max_concurrent_streams(200);
    let mut windows = Windows::new(&config);
    let kib = |kib: u64| kib << 10;
    // A quarter, as one stream may hold; and what is not announced yet.
    let mut flow = held(&windows, kib(300), kib(128 + 128));
    assert_eq!(adapted(&mut windows, &mut flow), []);
    let mut flow = held(&windows, kib(320), kib(320));
    assert_eq!(adapted(&mut windows, &mut flow), [Step::Streams(16 << 10), Step::TellRoom]);
    let mut flow = held(&windows, kib(400), kib(384));
    let rationed =
        [Step::Streams((512 << 10) / 3 / 200), Step::TellRoom, Step::Connection((512 << 10) * 4 / 3)];
    assert_eq!(adapted(&mut windows, &mut flow), rationed);
    // Little is held again: what was kept is taken back, and has come when the peer is given room again.
    let mut flow = held(&windows, kib(530), kib(170));
    assert_eq!(adapted(&mut windows, &mut flow), [Step::Connection(512 << 10)]);
    flow.received += kib(100);
    assert_eq!(adapted(&mut windows, &mut flow), []);
    flow.granted += 1;
    assert_eq!(adapted(&mut windows, &mut flow), [Step::Streams(16 << 10)]);
    let mut flow = held(&windows, kib(757), kib(0));
    assert_eq!(adapted(&mut windows, &mut flow), []);
    let mut flow = held(&windows, kib(758), kib(0));
    assert_eq!(adapted(&mut windows, &mut flow), [Step::Streams(128 << 10)]);
}

#[test]
fn the_largest_windows_have_something_kept_as_well() {
    let most = (1 << 31) - 1;
    let config = Config::default().with_stream_window(most).unwrap().with_connection_window(most).unwrap();
    let mut windows = Windows::new(&config);
    for received in (0..1 << 40).step_by(1 << 30) {
        let mut flow = all_read(&windows, received);
        adapted(&mut windows, &mut flow);
    }
    let mut flow = held(&windows, 1 << 41, u64::from(windows.announced.connection));
    let steps = adapted(&mut windows, &mut flow);
    assert!(
        matches!(steps[..], [Step::Streams(1_000_000..), Step::TellRoom, Step::Connection(whole)] if whole > most - 4),
        "{steps:?}"
    );
}

/// A connection as h2 keeps it, with a peer that does what it may.
struct Connection {
    windows: Windows,
    flow: Flow,
    target: i64,
    /// The window that streams begin with.
    first: i64,
    announced: Option<i64>,
    streams: Vec<Stream>,
    most: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// As the peer knows it.
    window: i64,
    available: i64,
    unread: i64,
    stalls: bool,
}

impl Stream {
    /// As h2 does, when room is given back.
    fn tell(&mut self) {
        let unclaimed = self.available - self.window;
        if unclaimed > 0 && unclaimed >= self.window / 2 {
            self.window = self.available;
        }
    }
}

impl Connection {
    fn new(config: &Config, streams: u32) -> Self {
        let config = config.clone().with_max_concurrent_streams(streams);
        let first = Sizes::first(&config);
        let flow = Flow { received: 0, granted: u64::from(first.connection), acknowledged: 1 };
        Self {
            windows: Windows::new(&config),
            flow,
            target: first.connection.into(),
            first: first.stream.into(),
            announced: None,
            streams: Vec::new(),
            most: usize::try_from(streams).unwrap(),
        }
    }

    fn open(&mut self, stalls: bool) {
        if self.streams.len() < self.most {
            self.streams.push(Stream { window: self.first, available: self.first, unread: 0, stalls });
        }
    }

    /// The peer sends as much as it wants to and may.
    fn send(&mut self, which: usize, want: i64) -> i64 {
        let room = i64::try_from(self.flow.granted - self.flow.received).unwrap();
        let count = self.streams.len();
        let Some(stream) = self.streams.get_mut(which % count.max(1)) else { return 0 };
        let sent = want.min(room).min(stream.window).max(0);
        stream.window -= sent;
        stream.available -= sent;
        stream.unread += sent;
        self.flow.received += u64::try_from(sent).unwrap();
        self.turn();
        sent
    }

    fn read(&mut self, which: usize) {
        let count = self.streams.len();
        let Some(stream) = self.streams.get_mut(which % count.max(1)) else { return };
        if stream.unread == 0 {
            return;
        }
        stream.available += stream.unread;
        stream.unread = 0;
        stream.tell();
        self.turn();
    }

    fn acknowledge(&mut self) {
        if let Some(first) = self.announced.take() {
            for stream in &mut self.streams {
                stream.window += first - self.first;
                stream.available += first - self.first;
            }
            self.first = first;
            self.flow.acknowledged += 1;
            self.turn();
        }
    }

    /// What the connection does when it is polled.
    fn turn(&mut self) {
        loop {
            let unread: i64 = self.streams.iter().map(|stream| stream.unread).sum();
            let room = i64::try_from(self.flow.granted - self.flow.received).unwrap();
            let unclaimed = self.target - unread - room;
            if unclaimed > 0 && unclaimed >= room / 2 {
                self.flow.granted += u64::try_from(unclaimed).unwrap();
            }
            let Self { windows, target, announced, streams, .. } = self;
            let more = windows.adapt(self.flow, |step| {
                match step {
                    Step::Streams(size) => *announced = Some(size.into()),
                    Step::TellRoom => streams.iter_mut().for_each(Stream::tell),
                    Step::Connection(size) => *target = size.into(),
                }
                Ok::<_, ()>(())
            });
            if !more {
                return;
            }
        }
    }

    fn unread(&self) -> i64 {
        self.streams.iter().map(|stream| stream.unread).sum()
    }

    /// Everybody does all that they may; `false` if the stream then still cannot go on.
    fn goes_on(&mut self, which: usize) -> bool {
        let mut moved = 0;
        for _ in 0..40 {
            self.acknowledge();
            for stream in (0..self.streams.len()).filter(|stream| *stream != which) {
                self.send(stream, i64::MAX);
            }
            moved += self.send(which, i64::MAX);
            for stream in 0..self.streams.len() {
                if !self.streams[stream].stalls {
                    self.read(stream);
                }
            }
        }
        moved > 40
    }
}

#[derive(Clone, Debug)]
enum Act {
    Open { stalls: bool },
    Send { which: usize, want: i64 },
    Read { which: usize },
    Acknowledge,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => any::<bool>().prop_map(|stalls| Act::Open { stalls }),
        6 => (any::<usize>(), prop_oneof![Just(i64::MAX), 0..40_000_i64]).prop_map(|(which, want)| Act::Send { which, want }),
        4 => any::<usize>().prop_map(|which| Act::Read { which }),
        2 => Just(Act::Acknowledge),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    prop_oneof![
        Just(Config::default()),
        (1..400_000_u32, 65_535..2_000_000_u32).prop_map(|(stream, connection)| {
            let config = Config::default().with_stream_window(stream).unwrap();
            config.with_connection_window(connection).unwrap()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happened before: if all streams that there may be stall but one, that one goes on; and what is held is bounded.
    #[test]
    fn one_that_reads_goes_on_however_many_stall(
        config in any_config(),
        streams in 1..40_u32,
        acts in prop::collection::vec(any_act(), 0..400),
    ) {
        let mut connection = Connection::new(&config, streams);
        connection.open(false);
        let check = |connection: &Connection| {
            let open = i64::from(connection.windows.earned.connection);
            prop_assert!(connection.unread() <= open + open / 3);
            Ok(())
        };
        for act in acts {
            match act {
                Act::Open { stalls } => connection.open(stalls),
                Act::Send { which, want } => drop(connection.send(which, want)),
                Act::Read { which } => connection.read(which),
                Act::Acknowledge => connection.acknowledge(),
            }
            check(&connection)?;
        }
        while connection.streams.len() < connection.most {
            connection.open(true);
        }
        for stream in connection.streams.iter_mut().skip(1) {
            stream.stalls = true;
        }
        prop_assert!(connection.goes_on(0), "{:?} {:?}", connection.windows, connection.streams);
        check(&connection)?;
    }
}
