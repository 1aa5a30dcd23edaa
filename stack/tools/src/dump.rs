//! What is in an image, for people and for scripts.

use baton_stack::tcp::FrozenBytes;
use handoff_proto::image::{Image, Resume};
use serde_json::{Map, Value, json};

/// Everything in an image. The TCB's fields have the names that docs/tcb.md gives them; their values are written as the code writes them,
/// byte strings as hexadecimal digits.
#[must_use]
pub fn describe(image: &Image) -> Value {
    let Image { c, base, epoch, tried, next_hop, tcb, cursor, plan, resume, served } = image;
    let queue: Vec<_> = tcb.queue.iter().map(describe_bytes).collect();
    let out_of_order: Vec<_> =
        tcb.out_of_order.iter().map(|(seq, bytes)| json!({"seq": seq.0, "bytes": hex(bytes)})).collect();
    let plan: Vec<_> = plan.iter().map(|planned| json!({"n": planned.n, "strip": planned.strip})).collect();
    let mut numbers = tcb.clone();
    (numbers.queue, numbers.unread, numbers.out_of_order) = Default::default();
    let mut fields: Map<String, Value> = fields_of(&format!("{numbers:#?}")).collect();
    fields.insert("flow".to_owned(), format!("{} -> {}", tcb.flow.client, tcb.flow.vip).into());
    fields.insert("queue".to_owned(), queue.into());
    fields.insert("unread".to_owned(), hex(&tcb.unread).into());
    fields.insert("out_of_order".to_owned(), out_of_order.into());
    json!({
        "connection": c.to_string(),
        "base": base.0,
        "epoch": epoch.0,
        "tried": tried.0,
        "next_hop": next_hop.to_string(),
        "cursor": format!("{cursor:?}"),
        "plan": plan,
        "resume": resume.as_ref().map(describe_resume),
        "served_requests": served.requests,
        "served_bytes": served.bytes,
        "tcb": fields,
    })
}

/// The same, a line for each field.
#[must_use]
pub fn text(description: &Value) -> String {
    let mut lines = String::new();
    flatten("", description, &mut lines);
    lines
}

fn flatten(name: &str, value: &Value, lines: &mut String) {
    let join = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(part, value)| flatten(&join(part), value, lines)),
        Value::Array(elements) if !elements.is_empty() => {
            elements.iter().enumerate().for_each(|(n, value)| flatten(&join(&n.to_string()), value, lines));
        }
        Value::String(text) => *lines += &format!("{name}: {text}\n"),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => *lines += &format!("{name}: {value}\n"),
    }
}

/// The response that goes on at the recipient. Its name is a path, as a rule.
fn describe_resume(resume: &Resume) -> Value {
    let Resume { n, status, keep_alive, first, length, offset, validator, name } = resume;
    json!({
        "n": n,
        "status": status,
        "keep_alive": keep_alive,
        "first": first,
        "length": length,
        "offset": offset,
        "validator": hex(validator),
        "name": String::from_utf8_lossy(name),
    })
}

fn describe_bytes(bytes: &FrozenBytes) -> Value {
    match bytes {
        FrozenBytes::Here(bytes) => json!({"bytes": hex(bytes)}),
        FrozenBytes::Remote { holder, offset, len } => json!({"holder": holder, "offset": offset, "len": len}),
    }
}

/// The fields of a struct that was written with `{:#?}`: each begins four places in; what is deeper belongs to it, and goes on one line.
fn fields_of(written: &str) -> impl Iterator<Item = (String, Value)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in written.lines() {
        match line.strip_prefix("    ") {
            Some(begin) if begin.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                let (name, value) = begin.split_once(": ").unwrap_or((begin, ""));
                fields.push((name.to_owned(), value.to_owned()));
            }
            Some(more) => {
                if let Some((_, value)) = fields.last_mut() {
                    let more = more.trim_start();
                    let is_tight = value.ends_with(['(', '[']) || more.starts_with([')', ']']);
                    value.push_str(if is_tight { "" } else { " " });
                    value.push_str(more);
                }
            }
            None => {}
        }
    }
    fields.into_iter().map(|(name, value)| (name, value.trim_end_matches(',').to_owned().into()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "looked at as text")]
    struct Sample {
        plain: u32,
        deep: Option<(u8, u8)>,
        empty: Vec<u8>,
    }

    #[test]
    fn a_written_struct_falls_into_its_fields() {
        let sample = Sample { plain: 7, deep: Some((1, 2)), empty: vec![] };
        let fields: Vec<_> = fields_of(&format!("{sample:#?}")).collect();
        let expected = [("plain", "7"), ("deep", "Some((1, 2,),)"), ("empty", "[]")];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), Value::from(value))));
    }

    #[test]
    fn lines_name_what_they_are_in() {
        let value = json!({"a": {"b": [1, {"c": "x"}], "d": []}, "e": null});
        assert_eq!(text(&value), "a.b.0: 1\na.b.1.c: x\na.d: []\ne: null\n");
    }
}
