//! What `--so_flags` may say.

use baton_stack::time::Duration;

/// How the virtual host behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// Each connection is frozen, written as an image, read and thawed between any two events.
    pub(crate) moves: bool,
    /// How long, in virtual time, a packet is waited for.
    pub(crate) give_up: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        // Longer than two of the longest retransmission timeouts.
        Self { moves: false, give_up: Duration::from_secs(130) }
    }
}

impl Settings {
    /// Reads words between commas: `move-every-event`, `give-up=SECONDS`.
    pub(crate) fn parse(flags: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for word in flags.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                None if word == "move-every-event" => settings.moves = true,
                Some(("give-up", seconds)) => {
                    let seconds =
                        seconds.parse::<u32>().map_err(|_| format!("give-up={seconds}: no number of seconds"))?;
                    settings.give_up = Duration::from_secs(seconds.into());
                }
                _ => return Err(format!("unknown flag '{word}'; there are move-every-event and give-up=SECONDS")),
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_unknown_ones_refused() {
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
        let settings = Settings { moves: true, give_up: Duration::from_secs(5) };
        assert_eq!(Settings::parse("move-every-event, give-up=5"), Ok(settings));
        for bad in ["moves", "move-every-event=1", "give-up", "give-up=x", "give-up=-1"] {
            assert!(Settings::parse(bad).is_err(), "{bad}");
        }
    }
}
