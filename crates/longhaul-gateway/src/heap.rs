//! Gives memory that nobody uses back to the system.
//!
//! What was freed stays with the allocator, and counts against the process: after a burst, a gateway
//! would look as full as it was at the worst moment.

/// Has the allocator return what it can. Other threads that allocate wait meanwhile, some
/// milliseconds with hundreds of MiB: for when memory is short.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> core::ffi::c_int;
    }

    // SAFETY: glibc has had it with this signature since 2.0 (malloc_trim(3)). It takes no pointer,
    // may be called by any thread, and touches only what is free.
    unsafe { malloc_trim(0) };
}

/// Other allocators return it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::process::resident_bytes;

    #[test]
    fn what_was_freed_no_longer_counts() {
        const PIECES: usize = 4096;
        // Pieces of the size of a relay's buffer, with small ones between them that stay: without
        // being asked, the allocator keeps the holes.
        let mut pieces = Vec::with_capacity(PIECES);
        for _ in 0..PIECES {
            pieces.push((vec![1_u8; 32 << 10], Box::new([1_u8; 64])));
        }
        let small: Vec<_> = pieces.into_iter().map(|(_, small)| small).collect();
        let before = resident_bytes().unwrap();
        give_back();
        let after = resident_bytes().unwrap();
        // Of 128 MiB; other tests of this process allocate beside it.
        assert!(before > after + (64 << 20), "{before} to {after}");
        drop(small);
    }
}
