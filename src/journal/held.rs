//! Checkpoints that were given away, as a file has them. What a crash left of a line
//! takes nothing from the others.

use super::checkpoint::Signed;
use super::line::Line;
use super::line::signed;

/// What is in a file of checkpoints.
#[derive(Debug, Default)]
pub struct Held {
    /// Those that can be read, whoever signed them.
    pub checkpoints: Vec<Signed>,
    /// The numbers, from 1, of lines that are none.
    pub broken: Vec<usize>,
    /// The number of the last line, where it has no end and cannot be read: so a crash
    /// in the middle of writing it leaves it.
    pub cut_off: Option<usize>,
}

impl Held {
    /// Reads a file of checkpoints, or an export for the checkpoints in it.
    pub fn read(file: &[u8]) -> Self {
        let mut held = Self::default();
        for (number, text) in (1..).zip(file.split_inclusive(|byte| *byte == b'\n')) {
            match serde_json::from_slice(text) {
                Ok(Line::Checkpoint { text, signature }) => match signed(text, &signature) {
                    Some(signed) => held.checkpoints.push(signed),
                    None => held.broken.push(number),
                },
                Ok(_another) => {}
                Err(_no_line) if text.trim_ascii().is_empty() => {}
                Err(_no_line) if text.ends_with(b"\n") => held.broken.push(number),
                Err(_no_line) => held.cut_off = Some(number),
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Signer;
    use std::path::Path;

    fn given_away(folder: &Path) -> Vec<Signed> {
        let signer = Signer::at(&folder.join("key")).unwrap();
        let texts = ["countersign checkpoint 1\nnumber 1\n", "ä\n", "3"];
        let texts = texts.map(str::to_owned);
        let sign = |text: String| Signed {
            signature: signer.sign(&text),
            text,
        };
        texts.map(sign).into()
    }

    fn texts(held: &Held) -> Vec<&str> {
        let all = held.checkpoints.iter();
        all.map(|signed| &*signed.text).collect()
    }

    #[test]
    fn a_file_that_ends_anywhere_has_all_lines_before_that() {
        let folder = tempfile::tempdir().unwrap();
        let given = given_away(folder.path());
        let lines: Vec<String> = given.iter().map(|one| one.line() + "\n").collect();
        let file = lines.concat().into_bytes();
        for end in 0..=file.len() {
            let held = Held::read(&file[..end]);
            // A line is whole without its end too.
            let mut left = end;
            let mut whole = 0;
            for line in &lines {
                if left + 1 < line.len() {
                    break;
                }
                whole += 1;
                left = left.saturating_sub(line.len());
            }
            assert_eq!(held.checkpoints.len(), whole, "{end}");
            assert_eq!(held.broken, [0; 0], "{end}");
            let cut_off = (left > 0).then_some(whole + 1);
            assert_eq!(held.cut_off, cut_off, "{end}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, three] = given_away(folder.path()).try_into().unwrap();
        let (one, two, three) = (one.line(), two.line(), three.line());
        let whole = two.len();
        for cut in 1..whole {
            let mut file = format!("{one}\n").into_bytes();
            file.extend(&two.as_bytes()[..cut]);
            file.extend(format!("\n\n{three}\n").as_bytes());
            let held = Held::read(&file);
            assert_eq!(texts(&held).len(), 2, "{cut}");
            assert_eq!(held.broken, [2], "{cut}");
            assert_eq!(held.cut_off, None, "{cut}");
        }
        let other = two.replacen("\"signature\":\"", "\"signature\":\"!", 1);
        let held = Held::read(format!("{other}\n{one}\n").as_bytes());
        assert_eq!((held.checkpoints.len(), &*held.broken), (1, &[1][..]));
        let held = Held::read(b"\0\0\0");
        assert_eq!((held.broken, held.cut_off), (vec![], Some(1)));
    }
}
