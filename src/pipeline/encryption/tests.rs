use super::*;

/// Somebody's key: what opens for them, and to whom is encrypted.
fn somebody() -> (Opener, Recipient) {
    let secret = age::x25519::Identity::generate();
    let recipient = Recipient::parse(&secret.to_public().to_string()).unwrap();
    let fingerprint = recipient.fingerprint().to_owned();
    (
        Opener::new([(Arc::new(secret) as SharedIdentity, fingerprint)]),
        recipient,
    )
}

fn sealed(sealer: &Sealer, content: &[u8]) -> Vec<u8> {
    let mut writer = Sealed::new(Vec::new(), Some(sealer)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn opened(file: &[u8], opener: Option<&Opener>) -> io::Result<(Vec<u8>, Digest)> {
    digest_beneath(file, opener, |mut content| {
        let mut read = Vec::new();
        content.read_to_end(&mut read).map(|_| read)
    })
}

#[test]
fn a_file_is_opened_by_each_recipient_and_by_the_run_that_wrote_it_and_by_nobody_else() {
    let ((one, first), (other, second)) = (somebody(), somebody());
    let sealer = Sealer::new(&[first, second]).unwrap();
    // Chunks of age's have 64 KiB: one that is full may be the last.
    for length in [0, 1, 65_535, 65_536, 65_537, 300_000] {
        let content: Vec<u8> = (0..=250).cycle().take(length).collect();
        let file = sealed(&sealer, &content);
        let mut digest = Digesting::new(io::sink());
        digest.write_all(&file).unwrap();
        let digest = digest.finish().0;
        for opener in [&one, &other, &sealer.opener()] {
            let (read, found) = opened(&file, Some(opener)).unwrap();
            assert_eq!((read, &found), (content.clone(), &digest), "{length}");
        }
        for stranger in [somebody().0, Sealer::new(&[somebody().1]).unwrap().opener()] {
            let error = opened(&file, Some(&stranger)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }
}

#[test]
fn every_byte_of_a_file_counts_those_behind_its_end_too() {
    let sealer = Sealer::new(&[somebody().1]).unwrap();
    let file = sealed(&sealer, b"content");
    let (_, digest) = opened(&file, Some(&sealer.opener())).unwrap();
    for cut in 0..file.len() {
        opened(&file[..cut], Some(&sealer.opener())).unwrap_err();
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        if let Ok((_, found)) = opened(&damaged, Some(&sealer.opener())) {
            assert_ne!(found, digest, "{at}");
        }
    }
    let longer = [&file[..], b"x"].concat();
    if let Ok((_, found)) = opened(&longer, Some(&sealer.opener())) {
        assert_ne!(found, digest);
    }
}

#[test]
fn a_text_is_for_the_recipients_alone_and_nobody_is_no_recipient() {
    let (own, recipient) = somebody();
    let sealer = Sealer::new(&[recipient]).unwrap();
    let text = sealer.seal_text(b"text").unwrap();
    assert_eq!(own.open_text(&text, 100).unwrap(), b"text");
    sealer.opener().open_text(&text, 100).unwrap_err();
    assert!(Sealer::new(&[]).is_none());
}
