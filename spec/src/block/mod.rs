//! Blocks: when a replica may keep, refer to, and destroy the bytes that rows name.
//!
//! A block is immutable, named by its content, and shared by every version that has the same bytes. Each version that
//! uses it leaves a *reference* at the block's replicas ([`BlockReference`](crate::row::BlockReference)), and the last
//! reference to go takes the bytes with it. Here, and where a node forgets a partition that it left
//! ([`Droppable`](crate::layout::Droppable)), acknowledged bytes are destroyed, so it is
//! claim C10: *the block and the reference of every current acknowledged version are, verified, on a majority of the
//! oldest active set and on every synced owner of a newer one.*
//!
//! - *Stored.* Under the block's lock at a replica: reference durable, then data durable, then the answer ([`Storing`]).
//!   A reference without data is legal, and counts for nothing; data without a reference or a [`Mark`] never is. The
//!   row that names the block is written after a majority of every active set answered ([`Placing`], [`Stored`]).
//! - *Dropped.* A superseded row proves nothing, for what superseded it may never be chosen, and a coordinator that
//!   sleeps may yet write the superseded version above it. So a reference says until when its version may be
//!   proposed, and the version is dead once its owner's row was read with something else under a chosen ballot after
//!   that: every later value is either new, or found by a majority that has that ballot ([`Inquiry`], [`Dead`]).
//!   Dead is final; whoever learns of it, however late, may drop the reference.
//! - *Deleted.* Data without a reference, a while after the last one went, looked at under the lock under which
//!   references are added ([`removable`]).
//!
//! Every replica drops its own references, for which it asks the owner row itself: the proof never travels, and nothing
//! is lost when a message is.
//!
//! The parts of an upload belong to its object: their references are dead when the upload's row is final and the
//! object's row holds something else under a ballot after every stamp that the upload's row recorded
//! ([`proposed_until`]).

mod inquiry;
mod removal;
mod storing;
mod sync;

pub use inquiry::{Dead, Finding, Inquiry, Names, Subject};
pub use removal::{Dropped, Held, Mark, UploadFate, dropped, dropped_for, let_go, proposed_until, removable};
pub use storing::{Brought, Data, Kept, Placing, StoreStep, Stored, Storing};
pub use sync::{Pulled, Pulling};
