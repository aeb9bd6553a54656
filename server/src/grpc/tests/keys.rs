use pb::key_service_client::KeyServiceClient;
use tonic::Code;

use super::super::*;
use super::harness::{ROOT, reason, serve};

#[tokio::test(start_paused = true)]
async fn keys_are_listed_by_id_and_changed_one_by_one() {
    let served = serve().await;
    let mut client = KeyServiceClient::new(served.channel(ROOT));
    let listed = client.list_keys(pb::ListKeysRequest {}).await.unwrap();
    let report = listed.into_inner().report.unwrap();
    let (key, me) = (&report.keys[0], &report.members[0]);
    assert_eq!((key.members, key.primary_members), (1, 1));
    assert_eq!((me.member.as_str(), me.ok), ("me", true));
    assert_eq!(me.stage(), pb::EncryptionStage::On);
    let request = pb::InstallKeyRequest {
        key: vec![9; 24].into(),
        local: false,
    };
    let installed = client.install_key(request).await.unwrap().into_inner();
    let request = pb::UseKeyRequest {
        id: installed.id.clone(),
        force: false,
    };
    let used = client.use_key(request).await.unwrap().into_inner();
    assert_eq!(used.report.unwrap().members[0].primary, installed.id);
    let request = pb::RemoveKeyRequest {
        id: key.id.clone(),
        force: false,
    };
    let removed = client.remove_key(request).await.unwrap().into_inner();
    assert_eq!(removed.report.unwrap().members[0].keys, [installed.id]);
    let rotated = client.rotate_key(pb::RotateKeyRequest::default()).await;
    let rotated = rotated.unwrap().into_inner();
    assert!(rotated.retire_time.is_some(), "a day from now");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_with_its_reason() {
    let served = serve().await;
    let mut client = KeyServiceClient::new(served.channel(ROOT));
    let listed = client.list_keys(pb::ListKeysRequest {}).await.unwrap();
    let only = listed.into_inner().report.unwrap().keys[0].id.clone();
    let refused = |status: tonic::Status, code, word: &str| {
        assert_eq!((status.code(), reason(&status).as_str()), (code, word));
    };
    let request = pb::InstallKeyRequest {
        key: vec![1; 31].into(),
        local: false,
    };
    let status = client.install_key(request).await.unwrap_err();
    refused(status, Code::InvalidArgument, "BAD_KEY");
    let mut remove = async |id: &str| {
        let request = pb::RemoveKeyRequest {
            id: id.to_owned(),
            force: false,
        };
        client.remove_key(request).await.unwrap_err()
    };
    refused(remove(&only).await, Code::FailedPrecondition, "KEY_LAST");
    refused(remove("00000000").await, Code::NotFound, "KEY_NOT_FOUND");
    refused(remove("secret").await, Code::InvalidArgument, "BAD_KEY_ID");
    let overlap = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let request = pb::RotateKeyRequest {
        overlap,
        ..pb::RotateKeyRequest::default()
    };
    let status = client.rotate_key(request).await.unwrap_err();
    refused(status, Code::InvalidArgument, "BAD_OVERLAP");
    let request = pb::SetEncryptionRequest::default();
    let status = client.set_encryption(request).await.unwrap_err();
    refused(status, Code::InvalidArgument, "BAD_STAGE");
}

#[tokio::test(start_paused = true)]
async fn keys_are_for_administrators_only() {
    let served = serve().await;
    let stranger = Peer { uid: 1_234, ..ROOT };
    let mut client = KeyServiceClient::new(served.channel(stranger));
    let status = client.list_keys(pb::ListKeysRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let request = pb::RotateKeyRequest::default();
    let status = client.rotate_key(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}
