//! Reading a body: inline, from blocks, or through the pages of a manifest.
//!
//! Blocks are fetched some ahead of the reader, in order. A reader beyond the node's block memory gets one at a time.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use trellis_s3api::error::StoreError;
use trellis_s3api::store::ByteStream;
use trellis_spec::register::Fetch;
use trellis_spec::row::{Address, Block, Body, Manifest, PageRef, PartRef, Row};

use super::buckets::control;
use super::ingest::block_failed;
use super::read_failed;
use crate::cluster::Coordinator;

/// A piece of a body: bytes at hand, or a stretch of a block.
enum Segment {
    Here(Bytes),
    Within(Block, Range<usize>),
}

type Segments = BoxStream<'static, Result<Segment, StoreError>>;

/// The bytes of `body` in `range`.
pub(super) fn read_body(coordinator: Arc<Coordinator>, body: Body, range: Range<u64>) -> ByteStream {
    let limits = &coordinator.limits;
    let blocks = usize::try_from((range.end - range.start).div_ceil(limits.block_bytes as u64)).unwrap_or(usize::MAX);
    let window = limits.download_window_blocks.min(blocks).max(1);
    let kib = u32::try_from(window * (limits.block_bytes >> 10)).unwrap_or(u32::MAX);
    // Held for the whole download: so many blocks may be in memory for it. One block at a time needs no share.
    let share = match window {
        1 => None,
        _ => coordinator.download_memory.clone().try_acquire_many_owned(kib).ok(),
    };
    let ahead = if share.is_some() { window } else { 1 };
    let segments = segments(coordinator.clone(), body, range);
    let fetched = segments
        .map(move |segment| fetch(coordinator.clone(), segment))
        .buffered(ahead);
    Box::pin(fetched.inspect(move |_| {
        // The stream owns its share until it is dropped.
        let _ = &share;
    }))
}

async fn fetch(coordinator: Arc<Coordinator>, segment: Result<Segment, StoreError>) -> Result<Bytes, StoreError> {
    match segment? {
        Segment::Here(bytes) => Ok(bytes),
        Segment::Within(block, within) => Ok(coordinator
            .fetch_block(block)
            .await
            .map_err(block_failed)?
            .slice(within)),
    }
}

/// The pieces of `body` in `range`, in order.
fn segments(coordinator: Arc<Coordinator>, body: Body, range: Range<u64>) -> Segments {
    match body {
        _ if range.is_empty() => Box::pin(stream::empty()),
        Body::Inline(inline) => {
            let bytes = inline
                .bytes
                .map(|bytes| Bytes::copy_from_slice(&bytes))
                .unwrap_or_default();
            let within = clamp(range.start, bytes.len())..clamp(range.end, bytes.len());
            Box::pin(stream::iter([Ok(Segment::Here(bytes.slice(within)))]))
        }
        Body::Blocks(blocks) => {
            let lengths = blocks.into_iter().map(|block| (u64::from(block.length), block));
            Box::pin(stream::iter(cut(lengths, range).map(|(block, within)| {
                let length = block.length as usize;
                Ok(Segment::Within(
                    block,
                    clamp(within.start, length)..clamp(within.end, length),
                ))
            })))
        }
        Body::Paged(pages) => paged(coordinator, pages, range),
    }
}

fn paged(coordinator: Arc<Coordinator>, pages: PageRef, range: Range<u64>) -> Segments {
    let manifest = pages.manifest;
    let numbered = pages.page_bytes.into_iter().zip(0_u32..);
    let loaded = stream::iter(cut(numbered, range)).map(move |(number, within)| {
        let coordinator = coordinator.clone();
        async move {
            let page = load_page(&coordinator, Address::manifest(manifest, number)).await?;
            Ok::<_, StoreError>(page_segments(coordinator, page, within))
        }
    });
    Box::pin(loaded.buffered(1).try_flatten())
}

fn page_segments(coordinator: Arc<Coordinator>, page: Manifest, range: Range<u64>) -> Segments {
    match page {
        Manifest::Blocks(blocks) => segments(coordinator, Body::Blocks(blocks), range),
        Manifest::Parts(parts) => {
            const PARTS_AHEAD: usize = 2;
            let sized = parts.into_iter().map(|part| (part.size, part));
            let loaded = stream::iter(cut(sized, range)).map(move |(part, within)| {
                let coordinator = coordinator.clone();
                async move {
                    let body = load_part(&coordinator, part).await?;
                    Ok::<_, StoreError>(segments(coordinator, body, within))
                }
            });
            Box::pin(loaded.buffered(PARTS_AHEAD).try_flatten())
        }
    }
}

/// A page of a manifest that some row names: it was written before that row.
pub(super) async fn load_page(coordinator: &Coordinator, address: Address) -> Result<Manifest, StoreError> {
    let found = coordinator
        .read(&control(address), Fetch::Full)
        .await
        .map_err(read_failed)?;
    match found.into_live() {
        Some(Row::Manifest(page)) => Ok(page),
        Some(_) | None => Err(StoreError::Internal("a page of a manifest is missing".to_owned())),
    }
}

async fn load_part(coordinator: &Coordinator, part: PartRef) -> Result<Body, StoreError> {
    let found = coordinator
        .read(&control(part.part), Fetch::Full)
        .await
        .map_err(read_failed)?;
    match found.into_live() {
        Some(Row::Part(part)) => Ok(part.body),
        Some(_) | None => Err(StoreError::Internal("a part of an object is missing".to_owned())),
    }
}

/// The items that lie in `range` when they are laid end to end, each with the stretch of it that does.
fn cut<T>(items: impl Iterator<Item = (u64, T)>, range: Range<u64>) -> impl Iterator<Item = (T, Range<u64>)> {
    let mut at = 0_u64;
    items.filter_map(move |(length, item)| {
        let start = at;
        at = at.saturating_add(length);
        let within = range.start.max(start) - start..range.end.min(at).saturating_sub(start);
        (range.start < at && within.start < within.end).then_some((item, within))
    })
}

fn clamp(offset: u64, length: usize) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX).min(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_range_is_read() {
        let cut = |range| cut([(10, 'a'), (0, 'b'), (5, 'c'), (7, 'd')].into_iter(), range).collect::<Vec<_>>();
        assert_eq!(cut(0..22), vec![('a', 0..10), ('c', 0..5), ('d', 0..7)]);
        assert_eq!(cut(9..11), vec![('a', 9..10), ('c', 0..1)]);
        assert_eq!(cut(15..16), vec![('d', 0..1)]);
        assert_eq!(cut(22..30), vec![]);
    }
}
