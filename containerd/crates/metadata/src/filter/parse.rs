use super::{Selector, Test, quote};

/// A text that is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filters: parse error: [{place}]: {problem}: invalid argument")]
pub struct InvalidFilter {
    /// The filter, with the offending character between `>|` and `|<`.
    place: String,
    problem: String,
}

/// Parses one filter; an empty one holds for everything.
pub(super) fn filter(text: &str) -> Result<Vec<Selector>, InvalidFilter> {
    let mut selectors = Vec::new();
    if text.is_empty() {
        return Ok(selectors);
    }
    let mut parser = Parser { text, position: 0 };
    loop {
        selectors.push(parser.selector()?);
        match parser.rest().chars().next() {
            None => return Ok(selectors),
            Some(',') => parser.position += 1,
            Some(_) => return Err(parser.problem(&format!("unexpected input: {}", parser.unexpected()))),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn problem(&self, problem: &str) -> InvalidFilter {
        let mut after = self.rest().chars();
        let place = match after.next() {
            None => self.text.to_owned(),
            Some(here) => format!("{} >|{here}|< {}", &self.text[..self.position], after.as_str()),
        };
        InvalidFilter {
            place,
            problem: problem.into(),
        }
    }

    /// What stands where a comma or the end was expected.
    fn unexpected(&self) -> char {
        self.rest().chars().next().unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.position = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes the longest run of characters that fit; may be empty.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn selector(&mut self) -> Result<Selector, InvalidFilter> {
        let path = self.path()?;
        if self.rest().is_empty() || self.rest().starts_with(',') {
            return Ok(Selector {
                path,
                test: Test::Present,
            });
        }
        self.skip_space();
        let operator = self.position;
        let test = match self.take(|c| matches!(c, '=' | '!' | '~')) {
            "==" => Test::Equal(self.value(false)?),
            "!=" => Test::NotEqual(self.value(false)?),
            "~=" => compile(&self.value(true)?),
            "" => return Err(self.problem("expected an operator (\"==\"|\"!=\"|\"~=\")")),
            other => {
                self.position = operator;
                return Err(self.problem(&format!("unsupported operator {other:?}")));
            }
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Vec<String>, InvalidFilter> {
        let mut path = vec![self.field()?];
        while self.rest().starts_with('.') {
            self.position += 1;
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String, InvalidFilter> {
        self.skip_space();
        if self.rest().starts_with('"') {
            return self.quoted('"');
        }
        match self.take(|c| c == '_' || c.is_ascii_alphanumeric()) {
            "" => Err(self.problem("expected field or quoted")),
            field => Ok(field.into()),
        }
    }

    fn value(&mut self, is_regex: bool) -> Result<String, InvalidFilter> {
        self.skip_space();
        match self.rest().chars().next() {
            Some('"') => self.quoted('"'),
            Some(quote @ ('/' | '|')) if is_regex => self.quoted(quote),
            Some('/' | '|') => Err(self.problem("invalid quote encountered")),
            Some('.' | ',' | '=' | '!' | '~') | None => Err(self.problem("expected value or quoted")),
            Some(_) => match self.take(|c| c != ',' && !c.is_whitespace() && !c.is_control()) {
                "" => Err(self.problem("expected value or quoted")),
                value => Ok(value.into()),
            },
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, InvalidFilter> {
        let (text, length) = quote::unquote(self.rest(), quote).map_err(|problem| self.problem(problem))?;
        self.position += length;
        Ok(text)
    }
}

fn compile(expression: &str) -> Test {
    match regex::Regex::new(expression) {
        Ok(regex) => Test::Matches(regex),
        Err(error) => {
            tracing::warn!(expression, %error, "filter with a bad regular expression matches nothing");
            Test::Never
        }
    }
}
