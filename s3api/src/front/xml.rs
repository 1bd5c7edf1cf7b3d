//! XML in and out, with the schemas that the wire library knows.

use bytes::Bytes;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};

use super::fault::{Code, Fault};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Reads a document.
pub(super) fn read<T: for<'xml> Deserialize<'xml>>(bytes: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Code::MalformedXML)?;
    let text = resolve_controls(&resolve_sections(text)?);
    let mut reader = Deserializer::new(text.as_bytes());
    let value = T::deserialize(&mut reader).map_err(|_| Code::MalformedXML)?;
    reader.expect_eof().map_err(|_| Code::MalformedXML)?;
    Ok(value)
}

/// The reader passes over character sections as if they were comments; we turn them into plain text.
fn resolve_sections(text: &str) -> Result<String, Fault> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, section)) = rest.split_once("<![CDATA[") {
        let (inside, after) = section.split_once("]]>").ok_or(Code::MalformedXML)?;
        resolved.push_str(before);
        resolved.push_str(&escape(inside));
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

/// The reader refuses references to control characters, which S3 writes and clients send for keys that contain them.
fn resolve_controls(text: &str) -> String {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once("&#") {
        resolved.push_str(before);
        match control_character(reference) {
            Some((character, after)) => {
                resolved.push(character);
                rest = after;
            }
            None => {
                resolved.push_str("&#");
                rest = reference;
            }
        }
    }
    resolved.push_str(rest);
    resolved
}

/// The control character that a reference (without its `&#`) stands for, and what follows.
fn control_character(reference: &str) -> Option<(char, &str)> {
    let (number, after) = reference.split_once(';').filter(|(number, _)| number.len() <= 8)?;
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code)
        .filter(char::is_ascii_control)
        .map(|character| (character, after))
}

/// Writes a document.
pub(super) fn write(value: &impl Serialize) -> Result<Bytes, Fault> {
    let mut bytes = DECLARATION.as_bytes().to_vec();
    value
        .serialize(&mut Serializer::new(&mut bytes))
        .map_err(|_| Code::InternalError)?;
    Ok(escape_controls(bytes).into())
}

/// The document of an error.
pub(super) fn error(fault: &Fault, resource: &str, request_id: &str) -> Bytes {
    let mut text = format!("{DECLARATION}<Error><Code>{}</Code>", fault.code.name());
    let last = [("Resource", resource), ("RequestId", request_id)];
    let fields = fault.fields.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in [("Message", fault.message.as_ref())]
        .into_iter()
        .chain(fields)
        .chain(last)
    {
        text.push_str(&format!("<{name}>{}</{name}>", escape(value)));
    }
    text.push_str("</Error>");
    escape_controls(text.into_bytes()).into()
}

/// Text that can stand between tags.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Control characters cannot stand in XML as they are, and a reader would turn a carriage return into a line feed.
/// Like S3 we write them as character references.
fn escape_controls(bytes: Vec<u8>) -> Vec<u8> {
    let special = |byte: u8| byte < 0x20 && byte != b'\n' && byte != b'\t';
    if !bytes.iter().copied().any(special) {
        return bytes;
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 64);
    for byte in bytes {
        if special(byte) {
            escaped.extend_from_slice(format!("&#x{byte:x};").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::Delete;

    #[test]
    fn errors_are_escaped() {
        let fault = Fault::with(Code::InvalidArgument, "a<b").field("Key", "x\u{1}\r&");
        let text = String::from_utf8(error(&fault, "/bucket/<", "ID").to_vec()).unwrap();
        assert!(text.ends_with(
            "<Error><Code>InvalidArgument</Code><Message>a&lt;b</Message><Key>x&#x1;&#xd;&amp;</Key>\
             <Resource>/bucket/&lt;</Resource><RequestId>ID</RequestId></Error>"
        ));
    }

    #[test]
    fn odd_documents_are_refused_and_never_panic() {
        let deep = "<Delete>".repeat(10_000);
        let entity = "<!DOCTYPE a [<!ENTITY b \"c\">]><Delete><Object><Key>&b;</Key></Object></Delete>";
        let documents = [
            "",
            "<",
            "<Delete>",
            "<Other/>",
            "</Delete>",
            "\u{0}",
            entity,
            deep.as_str(),
            "<Delete/>x",
        ];
        for document in documents {
            let result = read::<Delete>(document.as_bytes());
            assert_eq!(
                result.err().map(|fault| fault.code),
                Some(Code::MalformedXML),
                "{document:.60}"
            );
        }
        assert!(read::<Delete>(&[0xff, 0xfe, 0x00]).is_err());
    }

    #[test]
    fn references_to_characters_are_read() {
        let document = "<Delete><Object><Key>a&#x1;&#13;&amp;&#233;\u{e9}<![CDATA[<&>]]>z</Key></Object></Delete>";
        let delete = read::<Delete>(document.as_bytes()).unwrap();
        assert_eq!(delete.objects[0].key, "a\u{1}\r&\u{e9}\u{e9}<&>z");
    }
}
