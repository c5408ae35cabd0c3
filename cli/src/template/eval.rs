//! Walks the tree over a value.

use std::mem;

use serde_json::Value;

use super::{
    TemplateError, functions,
    parser::{Branch, Node, Operand, Pipeline},
    value,
};

/// How a list of nodes ended.
enum Flow {
    On,
    Break,
    Continue,
}

/// The text of the nodes for `data`.
pub fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut state = State {
        out: String::new(),
        variables: vec![(String::new(), data.clone())],
    };
    state.nodes(nodes, data)?;
    Ok(state.out)
}

struct State {
    out: String,
    /// Innermost last; `$` itself is the first, with an empty name.
    variables: Vec<(String, Value)>,
}

impl State {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let result = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&value::text(&result));
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
                Node::If(branch) => match self.choose(branch, dot, false)? {
                    Flow::On => {}
                    flow => return Ok(flow),
                },
                Node::With(branch) => match self.choose(branch, dot, true)? {
                    Flow::On => {}
                    flow => return Ok(flow),
                },
                Node::Range(branch) => self.scoped(|state| state.range(branch, dot))?,
            }
        }
        Ok(Flow::On)
    }

    /// Runs a step whose variables end with it.
    fn scoped<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.variables.len();
        let result = step(self);
        self.variables.truncate(depth);
        result
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, moves_dot: bool) -> Result<Flow, TemplateError> {
        self.scoped(|state| {
            let subject = state.pipeline(&branch.subject, dot)?;
            if !value::is_true(&subject) {
                return state.nodes(&branch.otherwise, dot);
            }
            state.nodes(&branch.body, if moves_dot { &subject } else { dot })
        })
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<(), TemplateError> {
        let subject = Pipeline {
            variables: Vec::new(),
            ..branch.subject.clone()
        };
        let items: Vec<(Value, Value)> = match self.pipeline(&subject, dot)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (at.into(), item))
                .collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key.into(), value)).collect(),
            Value::Number(number) => (0..number.as_u64().unwrap_or(0))
                .map(|at| (at.into(), at.into()))
                .collect(),
            other => {
                return Err(TemplateError::new(format!(
                    "range can't iterate over {}",
                    value::text(&other)
                )));
            }
        };
        if items.is_empty() {
            self.nodes(&branch.otherwise, dot)?;
            return Ok(());
        }
        for (key, item) in items {
            let flow = self.scoped(|state| {
                match branch.subject.variables.as_slice() {
                    [] => {}
                    [one] => state.variables.push((one.clone(), item.clone())),
                    [first, second, ..] => {
                        state.variables.push((first.clone(), key));
                        state.variables.push((second.clone(), item.clone()));
                    }
                }
                state.nodes(&branch.body, &item)
            })?;
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        let result = last.unwrap_or(Value::Null);
        for name in &pipeline.variables {
            self.bind(name, result.clone(), pipeline.declares)?;
        }
        Ok(result)
    }

    fn bind(&mut self, name: &str, value: Value, declares: bool) -> Result<(), TemplateError> {
        if declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(TemplateError::new(format!("undefined variable \"${name}\""))),
        }
    }

    /// Evaluates one command; `piped` is what the pipe brings as its last argument.
    fn command(&mut self, command: &[Operand], dot: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let (first, rest) = command.split_first().expect("the parser makes no empty command");
        if let Operand::Function(name) = first {
            return self.call(name, rest, dot, piped);
        }
        let subject = self.operand(first, dot)?;
        let mut arguments = self.arguments(rest, dot)?;
        arguments.extend(piped);
        match (mem::take(&mut arguments).as_slice(), &subject) {
            ([], _) => Ok(subject),
            // `.Label "key"`: the one method that Docker's formats have.
            ([Value::String(key)], Value::Object(map)) => Ok(map.get(key).cloned().unwrap_or_else(|| "".into())),
            _ => Err(TemplateError::new("can't give argument to non-function")),
        }
    }

    fn call(
        &mut self,
        name: &str,
        rest: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        if name == "and" || name == "or" {
            return self.short_circuit(name == "and", rest, dot, piped);
        }
        let mut arguments = self.arguments(rest, dot)?;
        arguments.extend(piped);
        functions::call(name, &arguments)
    }

    /// `and` and `or` do not evaluate what cannot matter any more.
    fn short_circuit(
        &mut self,
        all: bool,
        rest: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut last = None;
        for operand in rest {
            let value = self.operand(operand, dot)?;
            if value::is_true(&value) != all {
                return Ok(value);
            }
            last = Some(value);
        }
        piped
            .or(last)
            .ok_or_else(|| TemplateError::new(format!("wrong number of args for {}", if all { "and" } else { "or" })))
    }

    fn arguments(&mut self, operands: &[Operand], dot: &Value) -> Result<Vec<Value>, TemplateError> {
        operands.iter().map(|operand| self.operand(operand, dot)).collect()
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => walk(dot, path),
            Operand::Variable(name, path) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => walk(value, path),
                None => Err(TemplateError::new(format!("undefined variable \"${name}\""))),
            },
            Operand::Group(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                walk(&value, path)
            }
            Operand::Function(name) => self.call(name, &[], dot, None),
        }
    }
}

fn walk(start: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut current = start;
    for name in path {
        let Value::Object(map) = current else {
            return Err(TemplateError::new(match current {
                Value::Null => format!("nil value: it has no field {name}"),
                _ => format!("can't evaluate field {name} in {}", kind(current)),
            }));
        };
        match value::field(map, name) {
            Some(value) => current = value,
            // Names that the API chose begin with a capital, so an unknown one is a mistake; the others are keys that
            // users chose, as in `.Config.Labels.color`.
            None if name.starts_with(char::is_uppercase) => {
                return Err(TemplateError::new(format!("map has no entry for key \"{name}\"")));
            }
            None => return Ok(Value::Null),
        }
    }
    Ok(current.clone())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
