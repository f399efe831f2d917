//! Asks the processor to bring memory near before it is needed.
//!
//! Between two messages of one WebSocket there are those of hundreds of others, and what the kernel
//! does for them: by then, what this one needs is far away. The system tells of many at once, so the
//! next ones are known while one is served.

/// Asks for all of `what`, and waits for nothing.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T: ?Sized>(what: &T) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    const LINE_BYTES: usize = 64;
    let start = std::ptr::from_ref(what).cast::<i8>();
    for at in (0..size_of_val(what)).step_by(LINE_BYTES) {
        // SAFETY: a hint. It changes no value and raises no fault, whatever the address is, and
        // every processor of this architecture has it (SSE). `start + at` lies within `what`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) };
    }
}

/// Other processors look ahead by themselves as well as they can.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn prefetch<T: ?Sized>(_: &T) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_as_it_was() {
        let line = vec![7_u8; 1000];
        prefetch(&line[3..]);
        prefetch::<[u8]>(&[]);
        let task: Box<dyn std::fmt::Debug> = Box::new([5_u64; 90]);
        prefetch(&*task);
        assert_eq!(format!("{task:?}"), format!("{:?}", [5; 90]));
        assert!(line.iter().all(|&byte| byte == 7));
    }
}
