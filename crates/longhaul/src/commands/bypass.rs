//! `longhaul bypass`: a token by which an end-to-end test comes in without a login.

use std::time::{Duration, SystemTime};

use longhaul_policy::token::bypass;

use super::EXIT_USAGE;
use crate::cli::BypassArgs;
use crate::config::key_of_32_bytes;

pub(super) fn bypass(arguments: &BypassArgs) -> u8 {
    let key = match key_of_32_bytes(&arguments.key) {
        Ok(key) => key,
        Err(problem) => {
            eprintln!("longhaul: LONGHAUL_BYPASS_KEY {problem}");
            return EXIT_USAGE;
        }
    };
    let expires = SystemTime::now() + Duration::from_secs(arguments.minutes * 60);
    super::print::print(&format!("{}\n", bypass::sign(&key, &arguments.subject, expires)))
}
