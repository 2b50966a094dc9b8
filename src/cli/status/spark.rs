//! A row of numbers as a row of bars.

/// What bars are drawn with, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    /// Blocks of growing height.
    Blocks,
    /// For terminals and mails that show ASCII only.
    Ascii,
}

impl Letters {
    /// What the process's locale can show, by the variables of POSIX in their order.
    pub(super) fn of_process() -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
            let value = std::env::var(name).ok()?;
            (!value.is_empty()).then_some(value)
        });
        Self::of_locale(set.as_deref().unwrap_or_default())
    }

    fn of_locale(locale: &str) -> Self {
        let locale = locale.to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") {
            Self::Blocks
        } else {
            Self::Ascii
        }
    }

    fn bars(self) -> [char; 8] {
        match self {
            Self::Blocks => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => ['_', '.', ':', '-', '=', '+', '*', '#'],
        }
    }

    /// One bar for each number, as high as its share of the largest: a number half as large is half
    /// as high, and noise stays flat.
    pub(super) fn spark(self, numbers: &[u64]) -> String {
        let bars = self.bars();
        let largest = numbers.iter().copied().max().unwrap_or_default().max(1);
        numbers
            .iter()
            .map(|number| {
                let eighths = (u128::from(*number) * 8).div_ceil(u128::from(largest));
                let index = usize::try_from(eighths).unwrap_or_default().max(1) - 1;
                bars[index.min(7)]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Letters::{self, Ascii, Blocks};

    #[test]
    fn bars_are_as_high_as_their_share_of_the_largest() {
        for (numbers, blocks, ascii) in [
            (&[][..], "", ""),
            (&[0, 0], "▁▁", "__"),
            (&[7], "█", "#"),
            (&[1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█", "_.:-=+*#"),
            (&[100, 101, 99, 50], "███▄", "###-"),
            (&[u64::MAX, 1, 0], "█▁▁", "#__"),
        ] {
            assert_eq!(Blocks.spark(numbers), blocks);
            assert_eq!(Ascii.spark(numbers), ascii);
        }
    }

    #[test]
    fn only_a_locale_with_unicode_gets_blocks() {
        for (locale, letters) in [
            ("C.UTF-8", Blocks),
            ("ar_SA.utf8", Blocks),
            ("C", Ascii),
            ("", Ascii),
            ("en_US.ISO-8859-1", Ascii),
        ] {
            assert_eq!(Letters::of_locale(locale), letters, "{locale}");
        }
    }
}
