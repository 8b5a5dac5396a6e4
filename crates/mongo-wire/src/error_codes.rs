//! The one table from error codes to names and labels (the server's `error_codes.yml`).
//!
//! A code without a name of its own is spelled `Location<code>`, as the server does.

/// The `codeName` of an error reply.
pub fn name(code: i32) -> std::borrow::Cow<'static, str> {
    match NAMES.binary_search_by_key(&code, |(code, _)| *code) {
        Ok(at) => NAMES[at].1.into(),
        Err(_) => format!("Location{code}").into(),
    }
}

/// Codes after which a driver may send a retryable write again.
pub fn is_retryable_write(code: i32) -> bool {
    matches!(code, 6 | 7 | 89 | 91 | 134 | 189 | 262 | 358 | 384 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 | 50915)
}

/// Codes after which a change stream may be resumed.
pub fn is_resumable_change_stream(code: i32) -> bool {
    is_retryable_write(code) || matches!(code, 63 | 133 | 150 | 234 | 13388)
}

/// Codes that end a change stream for good.
pub fn is_fatal_change_stream(code: i32) -> bool {
    matches!(code, 280 | 286)
}

/// Codes after which a whole transaction may be run again. `commit` tells whether the command was
/// a commit, whose outcome is then unknown rather than undone.
pub fn is_transient_transaction(code: i32, commit: bool) -> bool {
    match code {
        112 | 24 | 246 | 239 | 267 => true,
        251 => true,
        _ => !commit && is_retryable_write(code),
    }
}

/// Sorted by code.
static NAMES: &[(i32, &str)] = &[
    (1, "InternalError"),
    (2, "BadValue"),
    (4, "NoSuchKey"),
    (5, "GraphContainsCycle"),
    (6, "HostUnreachable"),
    (7, "HostNotFound"),
    (8, "UnknownError"),
    (9, "FailedToParse"),
    (11, "UserNotFound"),
    (12, "UnsupportedFormat"),
    (13, "Unauthorized"),
    (14, "TypeMismatch"),
    (15, "Overflow"),
    (16, "InvalidLength"),
    (17, "ProtocolError"),
    (18, "AuthenticationFailed"),
    (20, "IllegalOperation"),
    (21, "EmptyArrayOperation"),
    (22, "InvalidBSON"),
    (24, "LockTimeout"),
    (25, "RemoteValidationError"),
    (26, "NamespaceNotFound"),
    (27, "IndexNotFound"),
    (28, "PathNotViable"),
    (29, "NonExistentPath"),
    (31, "RoleNotFound"),
    (32, "RolesNotRelated"),
    (33, "PrivilegeNotFound"),
    (34, "InvalidPath"),
    (38, "FileNotOpen"),
    (39, "FileStreamFailed"),
    (40, "ConflictingUpdateOperators"),
    (43, "CursorNotFound"),
    (46, "LockFailed"),
    (47, "NoMatchingDocument"),
    (48, "NamespaceExists"),
    (50, "MaxTimeMSExpired"),
    (51, "ManualInterventionRequired"),
    (52, "DollarPrefixedFieldName"),
    (53, "InvalidIdField"),
    (54, "NotSingleValueField"),
    (55, "InvalidDBRef"),
    (56, "EmptyFieldName"),
    (57, "DottedFieldName"),
    (59, "CommandNotFound"),
    (60, "DatabaseNotFound"),
    (61, "ShardKeyNotFound"),
    (62, "OplogOperationUnsupported"),
    (63, "StaleShardVersion"),
    (64, "WriteConcernFailed"),
    (65, "MultipleErrorsOccurred"),
    (66, "ImmutableField"),
    (67, "CannotCreateIndex"),
    (68, "IndexAlreadyExists"),
    (69, "AuthSchemaIncompatible"),
    (70, "ShardNotFound"),
    (71, "ReplicaSetNotFound"),
    (72, "InvalidOptions"),
    (73, "InvalidNamespace"),
    (74, "NodeNotFound"),
    (75, "WriteConcernLegacyOK"),
    (76, "NoReplicationEnabled"),
    (77, "OperationIncomplete"),
    (79, "UnknownReplWriteConcern"),
    (82, "NoProgressMade"),
    (85, "IndexOptionsConflict"),
    (86, "IndexKeySpecsConflict"),
    (89, "NetworkTimeout"),
    (90, "CallbackCanceled"),
    (91, "ShutdownInProgress"),
    (93, "InvalidReplicaSetConfig"),
    (94, "NotYetInitialized"),
    (96, "OperationFailed"),
    (98, "DBPathInUse"),
    (100, "UnsatisfiableWriteConcern"),
    (103, "JSInterpreterFailure"),
    (110, "OutdatedClient"),
    (111, "NotExactValueField"),
    (112, "WriteConflict"),
    (115, "CommandNotSupported"),
    (116, "DocTooLargeForCapped"),
    (117, "ConflictingOperationInProgress"),
    (118, "NamespaceNotSharded"),
    (121, "DocumentValidationFailure"),
    (123, "NotAReplicaSet"),
    (125, "CommandFailed"),
    (133, "FailedToSatisfyReadPreference"),
    (134, "ReadConcernMajorityNotAvailableYet"),
    (136, "CappedPositionLost"),
    (143, "CursorInUse"),
    (146, "ExceededMemoryLimit"),
    (148, "ReadConcernMajorityNotEnabled"),
    (150, "StaleEpoch"),
    (159, "DurationOverflow"),
    (160, "ViewDepthLimitExceeded"),
    (165, "ViewPipelineMaxSizeExceeded"),
    (166, "CommandNotSupportedOnView"),
    (167, "OptionNotSupportedOnView"),
    (168, "InvalidPipelineOperator"),
    (169, "CommandOnShardedViewNotSupportedOnMongod"),
    (171, "CannotIndexParallelArrays"),
    (175, "QueryPlanKilled"),
    (189, "PrimarySteppedDown"),
    (197, "InvalidIndexSpecificationOption"),
    (203, "FailPointSetFailed"),
    (206, "NoSuchSession"),
    (207, "InvalidUUID"),
    (211, "KeyNotFound"),
    (213, "DuplicateSession"),
    (217, "IncompleteTransactionHistory"),
    (222, "CloseChangeStream"),
    (224, "QueryFeatureNotAllowed"),
    (225, "TransactionTooOld"),
    (226, "AtomicityFailure"),
    (228, "SessionTransferIncomplete"),
    (234, "RetryChangeStream"),
    (237, "CursorKilled"),
    (238, "NotImplemented"),
    (239, "SnapshotTooOld"),
    (241, "ConversionFailure"),
    (244, "TransactionAborted"),
    (246, "SnapshotUnavailable"),
    (249, "ClientMetadataCannotBeMutated"),
    (251, "NoSuchTransaction"),
    (253, "InvalidViewDefinition"),
    (256, "TransactionCommitted"),
    (257, "TransactionTooLarge"),
    (260, "InvalidResumeToken"),
    (262, "ExceededTimeLimit"),
    (263, "OperationNotSupportedInTransaction"),
    (264, "TooManyFilesOpen"),
    (267, "PreparedTransactionInProgress"),
    (276, "IndexBuildAborted"),
    (279, "ClientDisconnect"),
    (280, "ChangeStreamFatalError"),
    (285, "IndexBuildAlreadyInProgress"),
    (286, "ChangeStreamHistoryLost"),
    (289, "TransactionCoordinatorSteppingDown"),
    (290, "TransactionExceededLifetimeLimitSeconds"),
    (291, "NoQueryExecutionPlans"),
    (292, "QueryExceededMemoryLimitNoDiskUseAllowed"),
    (314, "ObjectIsBusy"),
    (322, "APIVersionError"),
    (323, "APIStrictError"),
    (324, "APIDeprecationError"),
    (346, "ChangeStreamInvalidated"),
    (351, "ChangeStreamStartAfterInvalidate"),
    (354, "NotARetryableWriteCommand"),
    (9001, "SocketException"),
    (10003, "CannotGrowDocumentInCappedNamespace"),
    (10107, "NotWritablePrimary"),
    (10334, "BSONObjectTooLarge"),
    (11000, "DuplicateKey"),
    (11600, "InterruptedAtShutdown"),
    (11601, "Interrupted"),
    (11602, "InterruptedDueToReplStateChange"),
    (12586, "BackgroundOperationInProgressForDatabase"),
    (12587, "BackgroundOperationInProgressForNamespace"),
    (13113, "MergeStageNoMatchingDocument"),
    (13297, "DatabaseDifferCase"),
    (13388, "StaleConfig"),
    (13435, "NotPrimaryNoSecondaryOk"),
    (13436, "NotPrimaryOrSecondary"),
    (14031, "OutOfDiskSpace"),
    (17280, "KeyTooLong"),
    (46841, "ClientMarkedKilled"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_the_search_finds_every_name() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(name(26), "NamespaceNotFound");
        assert_eq!(name(40415), "Location40415");
    }
}
