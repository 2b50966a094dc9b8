use proptest::prelude::*;

use super::*;

/// A packet without its length.
fn packet(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    put_string(&mut bytes, text.as_bytes());
    bytes.to_vec()
}

#[test]
fn requests_have_the_bytes_of_the_draft() {
    let handle = Bytes::from_static(b"\0\x01");
    let open = Request::Open("a/b", Access::CreateNew).encode(7).0;
    let wanted: [&[u8]; 6] = [
        b"\0\0\0\x18\x03\0\0\0\x07",
        b"\0\0\0\x03a/b",
        // WRITE, CREAT and EXCL; neither TRUNC nor APPEND.
        b"\0\0\0\x2a",
        b"\0\0\0\x04",
        b"\0\0\x01\x80",
        b"",
    ];
    assert_eq!(open, packet(&wanted));
    let read = Request::Read(&handle, 5, 32768).encode(1).0;
    assert_eq!(
        read,
        packet(&[
            b"\0\0\0\x17\x05\0\0\0\x01\0\0\0\x02\0\x01",
            b"\0\0\0\0\0\0\0\x05\0\0\x80\0"
        ])
    );
    let content = Bytes::from_static(b"xyz");
    let (head, data) = Request::Write(&handle, 5, content.clone()).encode(1);
    assert_eq!(data, content);
    assert_eq!(
        head,
        packet(&[
            b"\0\0\0\x1a\x06\0\0\0\x01\0\0\0\x02\0\x01",
            b"\0\0\0\0\0\0\0\x05\0\0\0\x03"
        ])
    );
    assert_eq!(hello(), packet(&[b"\0\0\0\x05\x01\0\0\0\x03"]));
}

#[test]
fn a_server_says_what_it_can_do_and_only_known_versions_of_it_count() {
    let hello = packet(&[
        b"\x02\0\0\0\x03",
        &string("fsync@openssh.com"),
        &string("1"),
        &string("statvfs@openssh.com"),
        &string("3"),
        &string("posix-rename@openssh.com"),
        &string("1"),
    ]);
    let expected = Extensions {
        sync: true,
        ..Extensions::default()
    };
    assert_eq!(decode_hello(hello), Ok(expected));
    for bad in [&b"\x02\0\0\0\x02"[..], b"\x02\0\0", b"\x65\0\0\0\x03", b""] {
        decode_hello(Bytes::from_static(bad)).unwrap_err();
    }
}

#[test]
fn answers_are_read_with_all_that_a_server_may_add() {
    let status = packet(&[b"\x65\0\0\0\x09\0\0\0\x04", &string("Failure"), &string("")]);
    let reply = Reply::Status(Status {
        code: 4,
        message: "Failure".to_owned(),
    });
    assert_eq!(decode(status), Ok((9, reply)));
    // Without any text, and a code of a later version.
    let (_, reply) = decode(packet(&[b"\x65\0\0\0\x09\0\0\0\x0e"])).unwrap();
    assert!(matches!(reply, Reply::Status(status) if status.code == Status::FULL));
    // A handle is any bytes.
    let handle = packet(&[b"\x66\0\0\0\x09\0\0\0\x02\xff\0"]);
    let reply = Reply::Handle(Bytes::from_static(b"\xff\0"));
    assert_eq!(decode(handle), Ok((9, reply)));
    // Owners and extended attributes are passed over.
    let attributes: &[&[u8]] = &[
        b"\x80\0\0\x0f\0\0\0\0\0\0\x01\0",
        b"\0\0\0\x01\0\0\0\x01\0\0\x81\x80",
        b"\0\0\0\x05\0\0\0\x06\0\0\0\x01",
        &string("a"),
        &string("b"),
    ];
    let expected = Attributes {
        bytes: Some(256),
        permissions: Some(0o100_600),
        modified: Some(6),
    };
    assert_eq!(expected.kind(), Some(FileKind::File));
    let found = decode(packet(&[b"\x69\0\0\0\x09", &attributes.concat()]));
    assert_eq!(found, Ok((9, Reply::Attributes(expected))));
    let names = packet(&[
        b"\x68\0\0\0\x09\0\0\0\x02",
        &string("one"),
        &string("-rw------- one"),
        &attributes.concat(),
        &string("two"),
        &string(""),
        b"\0\0\0\0",
    ]);
    let Ok((9, Reply::Names(names))) = decode(names) else {
        panic!("names")
    };
    let found = names
        .iter()
        .map(|one| (&one.name[..], one.attributes.kind()));
    let found: Vec<_> = found.collect();
    assert_eq!(found, [(&b"one"[..], Some(FileKind::File)), (b"two", None)]);
}

#[test]
fn space_and_limits_are_read() {
    let numbers = |numbers: &[u64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|one| one.to_be_bytes()).collect();
        Bytes::from(bytes)
    };
    let space = decode_space(numbers(&[1, 4096, 9, 9, 3, 50, 9, 7, 1, 1, 255])).unwrap();
    let expected = Space {
        bytes: 3 * 4096,
        files: 7,
        most_files: 50,
        is_read_only: true,
    };
    assert_eq!(space, expected);
    decode_space(numbers(&[1])).unwrap_err();
    let limits = decode_limits(numbers(&[262_144, 261_120, 0, 0])).unwrap();
    assert_eq!((limits.read, limits.write), (Some(261_120), None));
}

proptest! {
    #[test]
    fn whatever_a_server_sends_is_an_answer_or_an_error(bytes: Vec<u8>, kind in 100_u8..110) {
        let mut packet = vec![kind, 0, 0, 0, 1];
        packet.extend(bytes);
        let _ = decode(packet.clone().into());
        let _ = decode_hello(packet.clone().into());
        let _ = decode_space(packet.into());
    }
}
