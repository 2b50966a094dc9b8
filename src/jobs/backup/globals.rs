//! The cluster's roles and tablespaces, which no dump of a database holds.

use std::num::NonZeroU8;

use super::dumping::Dumping;
use crate::config::Compression;
use crate::jobs::{JobError, JobErrorKind};
use crate::pipeline::compression::Settings;
use crate::postgres::globals_arguments;
use crate::repository::{Checked, Role};

impl Dumping<'_> {
    /// Dumps them, and checks the file; an emergency goes without them when the server does not
    /// give them.
    pub(super) async fn globals(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Checked>, JobError> {
        let (run, origin) = (self.backup.run, self.origin);
        let passwords = origin.role_passwords;
        let lock_wait = run.context.limits.lock_wait;
        let encoding = &origin.properties.encoding;
        let arguments = globals_arguments(&origin.conninfo, encoding, passwords, lock_wait);
        let pg_dumpall = self.dumper(run, origin.programs.pg_dumpall(), arguments);
        let settings = Settings::new(Compression::Gzip, None, Some(NonZeroU8::MIN));
        let file = self.file(Role::Globals(self.backup.at_rest()));
        match file.write_and_check(&pg_dumpall, settings).await {
            Ok((checked, _, _)) => {
                if !passwords {
                    warnings.push(format!(
                        "the roles' passwords are not in the backup: user {} may not read them, \
                         which takes a superuser or a member of pg_read_all_data",
                        self.origin.conninfo.user()
                    ));
                }
                Ok(Some(checked))
            }
            Err(error)
                if self.backup.is_emergency() && error.kind() == JobErrorKind::Unavailable =>
            {
                warnings.push(format!(
                    "roles and tablespaces are not in the backup: {error}"
                ));
                Ok(None)
            }
            Err(JobError::Failed {
                message,
                detail,
                may_pass,
            }) => {
                // What passes is no reason to do without them.
                let way_out = if may_pass {
                    ""
                } else {
                    " (globals = false leaves them out)"
                };
                Err(JobError::Failed {
                    message: format!(
                        "the cluster's roles and tablespaces could not be dumped{way_out}: {message}"
                    ),
                    detail,
                    may_pass,
                })
            }
            Err(error) => Err(error),
        }
    }
}
