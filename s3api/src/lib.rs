//! The S3 front door: parses and authenticates requests, calls an `ObjectStore`, shapes the answers.
