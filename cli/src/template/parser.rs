//! Tokens to a tree.

use std::{iter::Peekable, slice::Iter};

use serde_json::Value;

use super::{
    TemplateError,
    lexer::{Piece, Token},
};

/// A part of a template.
#[derive(Debug, Clone)]
pub enum Node {
    /// Copied as it is.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipeline),
    /// `{{if}}`
    If(Branch),
    /// `{{with}}`
    With(Branch),
    /// `{{range}}`
    Range(Branch),
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// What `if`, `with` and `range` have in common.
#[derive(Debug, Clone)]
pub struct Branch {
    /// What is asked.
    pub subject: Pipeline,
    /// What is rendered when there is something.
    pub body: Vec<Node>,
    /// What is rendered when there is nothing.
    pub otherwise: Vec<Node>,
}

/// Commands joined by `|`, and the variables that take the result.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Names that the result is bound to: one, or two in a `range`.
    pub variables: Vec<String>,
    /// Whether the variables are new (`:=`) or known (`=`).
    pub declares: bool,
    /// At least one command.
    pub commands: Vec<Vec<Operand>>,
}

/// A word of a command; the first one may be a function.
#[derive(Debug, Clone)]
pub enum Operand {
    /// `.A.B`, or `.` when empty.
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// `( … ).A`
    Group(Pipeline, Vec<String>),
    /// A string, number, `true`, `false` or `nil`.
    Literal(Value),
    /// The name of a function.
    Function(String),
}

/// How deep actions and parentheses may nest: the parser and the evaluator recurse, and a stack is finite.
const DEEPEST: usize = 200;

/// Builds the tree of a template.
pub fn parse(pieces: &[Piece]) -> Result<Vec<Node>, TemplateError> {
    refuse_depth(pieces)?;
    let mut pieces = pieces.iter().peekable();
    let (nodes, end) = list(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(end) => Err(TemplateError::new(format!("unexpected {{{{{}}}}}", end.word))),
    }
}

/// Counts what nests before anything recurses. `else if` counts like an `if` inside, which it is.
fn refuse_depth(pieces: &[Piece]) -> Result<(), TemplateError> {
    let (mut open, mut blocks) = (0usize, 0usize);
    for token in pieces.iter().flat_map(|piece| match piece {
        Piece::Text(_) => [].iter(),
        Piece::Action(tokens) => tokens.iter(),
    }) {
        match token {
            Token::Open => open += 1,
            Token::Close => open = open.saturating_sub(1),
            Token::Word(word) if matches!(word.as_str(), "if" | "with" | "range") => blocks += 1,
            Token::Word(word) if word == "end" => blocks = blocks.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST || blocks > DEEPEST {
            return Err(TemplateError::new(format!("more than {DEEPEST} levels")));
        }
    }
    Ok(())
}

/// An action that ends a list: `end`, or `else` with what follows it.
struct End<'a> {
    word: &'a str,
    rest: &'a [Token],
}

type Pieces<'a> = Peekable<Iter<'a, Piece>>;

fn list<'a>(pieces: &mut Pieces<'a>) -> Result<(Vec<Node>, Option<End<'a>>), TemplateError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match tokens.split_first() {
            None => return Err(TemplateError::new("missing value for command")),
            Some((Token::Word(word), rest)) => match word.as_str() {
                "end" | "else" => return Ok((nodes, Some(End { word, rest }))),
                "if" => nodes.push(Node::If(branch(rest, pieces)?)),
                "with" => nodes.push(Node::With(branch(rest, pieces)?)),
                "range" => nodes.push(Node::Range(branch(rest, pieces)?)),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    return Err(TemplateError::new(format!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(Node::Action(whole_pipeline(tokens)?)),
            },
            Some(_) => nodes.push(Node::Action(whole_pipeline(tokens)?)),
        }
    }
    Ok((nodes, None))
}

fn branch(subject: &[Token], pieces: &mut Pieces<'_>) -> Result<Branch, TemplateError> {
    let subject = whole_pipeline(subject)?;
    let (body, end) = list(pieces)?;
    let otherwise = match end {
        None => return Err(TemplateError::new("unexpected end of template: {{end}} is missing")),
        Some(End { word: "end", .. }) => Vec::new(),
        Some(End { rest: [], .. }) => match list(pieces)? {
            (nodes, Some(End { word: "end", .. })) => nodes,
            _ => return Err(TemplateError::new("{{else}} without {{end}}")),
        },
        // `{{else if x}}` is an `if` of its own that shares the outer `{{end}}`.
        Some(End {
            rest: [Token::Word(word), rest @ ..],
            ..
        }) if word == "if" => vec![Node::If(branch(rest, pieces)?)],
        Some(End {
            rest: [Token::Word(word), rest @ ..],
            ..
        }) if word == "with" => {
            vec![Node::With(branch(rest, pieces)?)]
        }
        Some(_) => return Err(TemplateError::new("unexpected value after {{else")),
    };
    Ok(Branch {
        subject,
        body,
        otherwise,
    })
}

type Tokens<'a> = Peekable<Iter<'a, Token>>;

fn whole_pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut tokens = tokens.iter().peekable();
    let pipeline = pipeline(&mut tokens)?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(token) => Err(TemplateError::new(format!("unexpected {} in action", shown(token)))),
    }
}

fn pipeline(tokens: &mut Tokens<'_>) -> Result<Pipeline, TemplateError> {
    let (variables, declares) = binding(tokens);
    let mut commands = vec![command(tokens)?];
    while tokens.next_if_eq(&&Token::Pipe).is_some() {
        commands.push(command(tokens)?);
    }
    Ok(Pipeline {
        variables,
        declares,
        commands,
    })
}

/// Reads `$x :=`, `$i, $x :=` or `$x =`, and nothing when the tokens are something else.
fn binding(tokens: &mut Tokens<'_>) -> (Vec<String>, bool) {
    let mut ahead = tokens.clone();
    let mut variables = Vec::new();
    while let Some(Token::Variable(name)) = ahead.next() {
        variables.push(name.clone());
        match ahead.next() {
            Some(Token::Comma) if variables.len() == 1 => {}
            Some(end @ (Token::Declare | Token::Assign)) => {
                *tokens = ahead;
                return (variables, *end == Token::Declare);
            }
            _ => break,
        }
    }
    (Vec::new(), false)
}

fn command(tokens: &mut Tokens<'_>) -> Result<Vec<Operand>, TemplateError> {
    let mut operands = Vec::new();
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Pipe | Token::Close)) {
        operands.push(operand(token, tokens)?);
    }
    if operands.is_empty() {
        return Err(TemplateError::new("missing value for command"));
    }
    Ok(operands)
}

fn operand(token: &Token, tokens: &mut Tokens<'_>) -> Result<Operand, TemplateError> {
    Ok(match token {
        Token::Dot => Operand::Field(Vec::new()),
        Token::Field { name, .. } => {
            let mut path = vec![name.clone()];
            path.extend(fields(tokens));
            Operand::Field(path)
        }
        Token::Variable(name) => Operand::Variable(name.clone(), fields(tokens)),
        Token::Open => {
            let inner = pipeline(tokens)?;
            if tokens.next() != Some(&Token::Close) {
                return Err(TemplateError::new("unclosed left paren"));
            }
            Operand::Group(inner, fields(tokens))
        }
        Token::Text(text) => Operand::Literal(text.as_str().into()),
        Token::Integer(integer) => Operand::Literal((*integer).into()),
        Token::Float(float) => Operand::Literal((*float).into()),
        Token::Word(word) => match word.as_str() {
            "true" => Operand::Literal(true.into()),
            "false" => Operand::Literal(false.into()),
            "nil" => Operand::Literal(Value::Null),
            _ if super::functions::is_known(word) => Operand::Function(word.clone()),
            _ => return Err(TemplateError::new(format!("function {word:?} not defined"))),
        },
        token => return Err(TemplateError::new(format!("unexpected {} in operand", shown(token)))),
    })
}

/// The fields that hang on what came before: `.A.B` of `$x.A.B`.
fn fields(tokens: &mut Tokens<'_>) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(Token::Field { name, .. }) =
        tokens.next_if(|token| matches!(token, Token::Field { glued: true, .. }))
    {
        path.push(name.clone());
    }
    path
}

fn shown(token: &Token) -> String {
    match token {
        Token::Close => "right paren".to_owned(),
        Token::Comma => "\",\"".to_owned(),
        Token::Declare => "\":=\"".to_owned(),
        Token::Assign => "\"=\"".to_owned(),
        other => format!("{other:?}"),
    }
}
