//! Certificates for servers of tests.

use std::process::Command;

/// An authority, and a certificate of it for a server of this name; PEM.
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make(server: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(&directory)
                .output()
                .expect("openssl, which Debian's PostgreSQL needs as well");
            assert!(
                output.status.success(),
                "{arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let curve = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let request = |arguments: &[&str]| openssl(&[&["req"][..], &curve, arguments].concat());
        request(&[
            "-x509",
            "-subj",
            "/CN=authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ]);
        let subject = format!("/CN={server}");
        for name in ["server", "client"] {
            let extensions = directory.path().join(format!("{name}.ext"));
            std::fs::write(extensions, format!("subjectAltName=DNS:{server}\n")).unwrap();
            let [key, csr, crt, ext] = ["key", "csr", "crt", "ext"].map(|e| format!("{name}.{e}"));
            let subject = if name == "client" {
                "/CN=postgres"
            } else {
                &subject
            };
            request(&["-subj", subject, "-keyout", &key, "-out", &csr]);
            openssl(&[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-extfile",
                &ext,
                "-out",
                &crt,
            ]);
        }
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}
