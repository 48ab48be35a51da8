//! The kubelet's side of CRI: messages of `runtime.v1.RuntimeService`, sent by curl, as Debian has no client for it.
//!
//! The numbers are those of Kubernetes' `api.proto`.

use std::fs;

use crate::engines::Engine;

/// A message of protobuf under construction.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Message {
        Message::default()
    }

    pub fn number(mut self, field: u8, value: u64) -> Message {
        self.0.push(field << 3);
        self.varint(value);
        self
    }

    pub fn text(self, field: u8, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    pub fn message(self, field: u8, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }

    fn bytes(mut self, field: u8, value: &[u8]) -> Message {
        self.0.push(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The fields of an answer, by their numbers below 16: all that is asked here.
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn text(&self, field: u8) -> String {
        let bytes = self.find(field).map(|(_, bytes)| bytes).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    pub fn message(&self, field: u8) -> Answer {
        Answer(self.find(field).map(|(_, bytes)| bytes.to_vec()).unwrap_or_default())
    }

    pub fn number(&self, field: u8) -> u64 {
        self.find(field).map_or(0, |(value, _)| value)
    }

    fn find(&self, wanted: u8) -> Option<(u64, &[u8])> {
        let mut rest = self.0.as_slice();
        while let Some((key, after)) = rest.split_first() {
            let (mut value, mut shift, mut at) = (0_u64, 0, 0);
            loop {
                let byte = *after.get(at)?;
                value |= u64::from(byte & 0x7f) << shift;
                (shift, at) = (shift + 7, at + 1);
                if byte < 0x80 {
                    break;
                }
            }
            let length = if key & 7 == 2 { value as usize } else { 0 };
            let content = after.get(at..at + length)?;
            if key >> 3 == wanted {
                return Some((value, content));
            }
            rest = &after[at + length..];
        }
        None
    }
}

/// Calls a method; its answer, or the words of its failure.
pub fn call(engine: &Engine, method: &str, request: &Message) -> Result<Answer, String> {
    let file = |kind: &str| engine.t.dir().join(format!("cri.{kind}"));
    let (body, head, answer) = (file("request"), file("head"), file("answer"));
    let mut framed = vec![0];
    framed.extend((request.0.len() as u32).to_be_bytes());
    framed.extend(&request.0);
    fs::write(&body, framed).expect("the test's folder is writable");
    // curl writes no file for an answer without a body.
    fs::write(&answer, "").expect("the test's folder is writable");
    let data = format!("@{}", body.display());
    let url = format!("http://localhost/runtime.v1.RuntimeService/{method}");
    let words = [
        ["--http2-prior-knowledge", "--silent"],
        ["--unix-socket", "/run/containerd/containerd.sock"],
        ["--header", "content-type: application/grpc"],
        ["--header", "te: trailers"],
        ["--data-binary", &data],
        ["--dump-header", head.to_str().expect("a plain path")],
        ["--output", answer.to_str().expect("a plain path")],
    ];
    let words: Vec<&str> = words.into_iter().flatten().chain([url.as_str()]).collect();
    engine.call("curl", &words).unwrap_or_else(|skip| panic!("{}", skip.0)).end().ok();
    let head = fs::read_to_string(&head).expect("curl wrote it");
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("grpc-status:") {
        Some("0") => {
            let answer = fs::read(&answer).expect("curl wrote it");
            Ok(Answer(answer.get(5..).unwrap_or_default().to_vec()))
        }
        Some(_) => Err(field("grpc-message:").unwrap_or_default().to_owned()),
        None => panic!("no gRPC answer to {method}: {head}"),
    }
}
