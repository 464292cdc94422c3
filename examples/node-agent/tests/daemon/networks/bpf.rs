//! BPF: a classifier that hands packets for some addresses over to other pods, as an object file that `tc` loads.

use std::net::IpAddr;

use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::mesh::Result;

/// One instruction (BPF's instruction set, RFC 9669 §3): its operation, its registers (target in the lower half), offset and immediate.
#[derive(Clone, Copy)]
struct Instruction(u8, u8, i16, u32);

/// Operations (RFC 9669 §4 and §5) and helpers (bpf-helpers(7)).
const LOAD_WORD: u8 = 0x20;
const LOAD_HALF: u8 = 0x28;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_NOT_EQUAL_32: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const REDIRECT_PEER: u32 = 155;

/// `TC_ACT_UNSPEC` (`linux/pkt_cls.h`): on as if there were no program.
const GO_ON: u32 = u32::MAX;

/// Where an Ethernet frame has its type, and IP its destination.
const TYPE: u32 = 12;
const V4_DESTINATION: u32 = 14 + 16;
const V6_DESTINATION: u32 = 14 + 24;

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let Self(operation, registers, offset, immediate) = self;
        let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), immediate.to_le_bytes());
        [operation, registers, o0, o1, i0, i1, i2, i3]
    }
}

/// A program that hands what goes to an address over to the other end of the link with this index, in its namespace.
pub(super) fn hand_over(destinations: &[(IpAddr, u32)]) -> Vec<u8> {
    // Loads from a packet take it from register 6.
    let mut program = vec![Instruction(MOVE_REGISTER, 0x16, 0, 0)];
    for (address, link) in destinations {
        let (ethertype, at, words): (u32, u32, Vec<u32>) = match address {
            IpAddr::V4(address) => (0x0800, V4_DESTINATION, vec![address.to_bits()]),
            IpAddr::V6(address) => {
                let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
                (0x86dd, V6_DESTINATION, address.octets().chunks(4).map(word).collect())
            }
        };
        let at = |index: usize| at + 4 * u32::try_from(index).unwrap_or_default();
        let mut checks = vec![(Instruction(LOAD_HALF, 0, 0, TYPE), ethertype)];
        checks.extend(
            words.iter().enumerate().map(|(index, word)| (Instruction(LOAD_WORD, 0, 0, at(index)), *word)),
        );
        let redirect = [
            Instruction(MOVE, 0x01, 0, *link),
            Instruction(MOVE, 0x02, 0, 0),
            Instruction(CALL, 0, 0, REDIRECT_PEER),
            Instruction(EXIT, 0, 0, 0),
        ];
        let mut left = 2 * checks.len() + redirect.len();
        for (load, wanted) in checks {
            left -= 2;
            program.extend([
                load,
                Instruction(JUMP_NOT_EQUAL_32, 0, i16::try_from(left).unwrap_or(i16::MAX), wanted),
            ]);
        }
        program.extend(redirect);
    }
    program.extend([Instruction(MOVE, 0, 0, GO_ON), Instruction(EXIT, 0, 0, 0)]);
    program.into_iter().flat_map(Instruction::bytes).collect()
}

/// A program as an object file: in the section `tc`.
pub(super) fn object(program: &[u8]) -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"tc".to_vec(), SectionKind::Text);
    object.append_section_data(section, program, 8);
    object.add_symbol(Symbol {
        name: b"hand_over".to_vec(),
        value: 0,
        size: program.len().try_into()?,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let licence = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(licence, b"MIT\0", 1);
    Ok(object.write()?)
}
