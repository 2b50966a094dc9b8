//! The head of a copy: the backup's own manifest and its roles, without its dump. It is enough to ask about a restore
//! before anything large is fetched.

use super::FetchRequest;
use super::agreement::file_of;
use super::examine::Examination;
use crate::copies::FileRole;
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::repository::Stem;

/// Brings the head of a copy into a directory, where it is no backup; gives the backup's name.
///
/// # Errors
/// When the copy is damaged, no identity opens it, the destination does not give it, it cannot be written, or the
/// run is to end.
pub async fn fetch_head(run: &Run<'_>, request: &FetchRequest<'_>) -> Result<Stem, JobError> {
    let signed = &request.copy.manifest;
    let opening = super::opening(request.copy, signed, request.identities)?;
    let examination = Examination::new((run, request.source), opening, &signed.manifest);
    let (manifest, stem, text) = examination.own_manifest().await?;
    let mut globals = None;
    if let (Some(file), Some(recorded)) = (
        file_of(&signed.manifest, FileRole::Globals),
        &manifest.globals,
    ) {
        let (content, digest) = examination.content(file).await?;
        examination.agree(file, &digest, &recorded.digest)?;
        globals = Some(content);
    }
    request.to.create()?;
    let role = manifest.globals_role();
    let globals = globals.as_deref().map(|globals| (role, globals));
    request.to.put_head(&stem, &text, globals)?;
    Ok(stem)
}
