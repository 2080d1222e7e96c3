//! Parses and validates a WGSL shader with naga, as a browser would before it compiles the shader,
//! on machines without a GPU. What is accepted is core WebGPU and the extensions `f16` and
//! `subgroups`, each where the shader enables it. Beyond naga is what browsers also check: that
//! barriers are in uniform control flow, and that constant expressions stay finite.

mod enable;

use core::error::Error;
use naga::front::wgsl::{Frontend, Options, ParseError};
use naga::valid::{Capabilities, ValidationError, ValidationFlags, Validator};
use naga::{Span, WithSpan};
use wasm_bindgen::prelude::wasm_bindgen;

/// What is wrong with a shader, and where.
#[wasm_bindgen(getter_with_clone)]
pub struct Problem {
    /// What is wrong, in naga's words.
    #[wasm_bindgen(readonly)]
    pub message: String,
    /// Line from 1; 0 where the problem has no place.
    #[wasm_bindgen(readonly)]
    pub line: u32,
    /// Column from 1, in UTF-16 units; 0 where the problem has no place.
    #[wasm_bindgen(readonly)]
    pub column: u32,
    /// Length in UTF-16 units.
    #[wasm_bindgen(readonly)]
    pub length: u32,
}

/// The first problem of the shader, if it has one.
#[wasm_bindgen]
pub fn check(code: &str) -> Option<Problem> {
    // naga knows the functions of subgroups, but refuses to be told that they are enabled.
    let (source, has_subgroups) = enable::without_subgroups(code);
    let mut capabilities = Capabilities::MULTISAMPLED_SHADING
        | Capabilities::CUBE_ARRAY_TEXTURES
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if has_subgroups {
        capabilities |= Capabilities::SUBGROUP;
    }
    let mut options = Options::new();
    options.capabilities = capabilities;
    match Frontend::new_with_options(options).parse(&source) {
        Err(error) => Some(of_parser(&error, code)),
        Ok(module) => Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .err()
            .map(|error| of_validator(&error, code)),
    }
}

/// The problem that the parser found.
fn of_parser(error: &ParseError, code: &str) -> Problem {
    let mut message = error.message().to_string();
    for note in error.notes() {
        message.push_str("; ");
        message.push_str(note);
    }
    let span = error.labels().next().map(|(span, _)| span);
    at(message, span, code)
}

/// The problem that the validator found: the outer error names the function, its causes the rest.
fn of_validator(error: &WithSpan<ValidationError>, code: &str) -> Problem {
    let mut message = error.as_inner().to_string();
    let mut cause = error.as_inner().source();
    while let Some(inner) = cause {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        cause = inner.source();
    }
    let span = error.spans().next().map(|(span, _)| *span);
    at(message, span, code)
}

/// The problem at `span` of `code`.
fn at(message: String, span: Option<Span>, code: &str) -> Problem {
    let units = |text: &str| text.encode_utf16().count() as u32;
    let place = span.and_then(Span::to_range).and_then(|range| {
        let before = code.get(..range.start)?;
        let line = before.rsplit('\n').next()?;
        let marked = code.get(range)?;
        let number = before.matches('\n').count() as u32 + 1;
        Some((number, units(line) + 1, units(marked)))
    });
    let (line, column, length) = place.unwrap_or((0, 0, 0));
    Problem {
        message,
        line,
        column,
        length,
    }
}
