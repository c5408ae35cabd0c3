//! Tasks that are written down, and tasks that are made of what was written.

use davit_containerd_api::{
    services::tasks::v1::{CheckpointTaskRequest, CreateTaskRequest},
    types::Descriptor,
};
use davit_metadata::{AnyRecord, Scope};
use davit_shim_api::{
    Packed,
    options::oci::{CheckpointOptions, Options},
};
use davit_tasks::Checkpoint;
use prost::Message as _;
use prost_types::Any;
use tonic::Status;

use super::{
    super::{
        blocking,
        storage::{self, descriptor, run, wire_descriptor},
    },
    Service, convert, failed,
};
use crate::checkpoints::CHECKPOINT;

impl Service {
    /// What the task is to be restored from: the folder that its options name or, without one, an archive in the content store.
    pub(super) async fn origin(
        &self,
        scope: &Scope,
        request: &mut CreateTaskRequest,
    ) -> Result<Option<Checkpoint>, Status> {
        let options: Options = read(request.options.as_ref(), "create option")?.unwrap_or_default();
        if !options.criu_image_path.is_empty() {
            return Ok(Some(Checkpoint::Folder(options.criu_image_path.into())));
        }
        let Some(wanted) = request.checkpoint.take() else {
            return Ok(None);
        };
        if wanted.media_type != CHECKPOINT {
            let text = format!("unsupported checkpoint type {:?}: invalid argument", wanted.media_type);
            return Err(Status::invalid_argument(text));
        }
        let digest = descriptor(wanted)?.digest;
        let (content, scope) = (self.content.clone(), scope.clone());
        let archive = run(move || content.reader(&scope, &digest)).await?;
        Ok(Some(Checkpoint::Archive(archive.into_file())))
    }

    /// Has a task written down. The answer names what is in the content store then: nothing where the options name a folder.
    ///
    /// Runs to its end even if the caller does not wait for it: criu is not left without the folder that it writes to.
    pub(super) async fn write_down(
        &self,
        scope: Scope,
        request: CheckpointTaskRequest,
    ) -> Result<Vec<Descriptor>, Status> {
        let container = self.container(&scope.namespace, &request.container_id).await?;
        let shim = self.shim(&scope.namespace, &request.container_id).await?;
        let named: CheckpointOptions = read(request.options.as_ref(), "checkpoint option")?.unwrap_or_default();
        let options = request.options.map(convert::any_to_shim);
        if !named.image_path.is_empty() {
            let result = shim.checkpoint(named.image_path.as_ref(), options).await;
            return result.map(|()| Vec::new()).map_err(failed);
        }
        let checkpoints = self.checkpoints.clone();
        let whole = async move {
            let draft = checkpoints.draft().map_err(storage::failed)?;
            davit_fail_point::reach("manager.checkpoint.begun");
            let written = shim.checkpoint(draft.path(), options).await.map_err(failed);
            davit_fail_point::reach("manager.checkpoint.dumped");
            // With a draft that was of no use, too: its removal may take its time.
            blocking(move || {
                written?;
                let stored = checkpoints.store(&scope, &draft, &encoded(container.spec));
                stored.map_err(storage::failed)
            })
            .await
        };
        let stored = tokio::spawn(whole).await.expect("a checkpoint does not panic")?;
        Ok(stored.iter().map(wire_descriptor).collect())
    }
}

/// Options of this type; those of other runtimes are for them to read.
fn read<M: Packed>(any: Option<&Any>, what: &str) -> Result<Option<M>, Status> {
    let Some(any) = any.filter(|any| any.type_url == M::FULL_NAME) else {
        return Ok(None);
    };
    M::parse_from_bytes(&any.value)
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("invalid task {what}: {error}: invalid argument")))
}

fn encoded(spec: Option<AnyRecord>) -> Vec<u8> {
    let spec = spec.map(|spec| Any {
        type_url: spec.type_url,
        value: spec.value.0,
    });
    spec.unwrap_or_default().encode_to_vec()
}

#[cfg(test)]
mod tests {
    use protobuf::Message;
    use tonic::Code;

    use super::*;

    #[test]
    fn only_options_of_the_right_type_are_read_and_they_must_be_whole() {
        let options = |type_url: &str, value: &[u8]| Any {
            type_url: type_url.into(),
            value: value.into(),
        };
        let written = CheckpointOptions {
            image_path: "/image".into(),
            ..Default::default()
        };
        let bytes = written.write_to_bytes().unwrap();
        let ours = options("containerd.runc.v1.CheckpointOptions", &bytes);
        assert_eq!(read(Some(&ours), "x").unwrap(), Some(written));
        let another = options("another.Options", b"\xff");
        assert_eq!(read::<CheckpointOptions>(Some(&another), "x").unwrap(), None);
        assert_eq!(read::<CheckpointOptions>(None, "x").unwrap(), None);
        let torn = options("containerd.runc.v1.CheckpointOptions", b"\xff");
        let refused = read::<CheckpointOptions>(Some(&torn), "checkpoint option").unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("invalid task checkpoint option: "));
    }
}
