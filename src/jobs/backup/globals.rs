//! The cluster's roles and tablespaces, which no dump of a database holds.

use std::num::NonZeroU8;

use super::Run;
use crate::config::Compression;
use crate::jobs::dump::{Dumper, write_and_check};
use crate::jobs::{JobError, JobErrorKind};
use crate::pipeline::compression::Settings;
use crate::repository::{Checked, Role, Staging};

impl Run<'_> {
    /// Dumps them, and checks the file; an emergency goes without them when the server does not
    /// give them.
    pub(super) async fn dump_globals(
        &self,
        dumper: &Dumper<'_>,
        staging: &Staging<'_>,
        role_passwords: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Checked>, JobError> {
        let settings = Settings::new(Compression::Gzip, None, Some(NonZeroU8::MIN));
        let limits = (&self.limit, &self.limit);
        let role = Role::Globals;
        match write_and_check(dumper, staging, role, settings, limits, self.progress).await {
            Ok((checked, _, _)) => {
                if !role_passwords {
                    warnings.push(format!(
                        "the roles' passwords are not in the backup: user {} may not read them, \
                         which takes a superuser or a member of pg_read_all_data",
                        dumper.conninfo.user()
                    ));
                }
                Ok(Some(checked))
            }
            Err(error) if self.is_emergency() && error.kind() == JobErrorKind::Unavailable => {
                warnings.push(format!(
                    "roles and tablespaces are not in the backup: {error}"
                ));
                Ok(None)
            }
            Err(JobError::Failed {
                message,
                said,
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
                    said,
                    may_pass,
                })
            }
            Err(error) => Err(error),
        }
    }
}
