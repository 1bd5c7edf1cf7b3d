//! What is changed in the configurations that `trellis config generate` writes, line by line.

use std::net::SocketAddr;

/// The configuration of a node that is dialed at a proxy, and dials the proxies of the others; and where it listens itself.
pub(super) fn behind_proxies(text: &str, own: SocketAddr, all: &[SocketAddr]) -> Option<(String, SocketAddr)> {
    let (mut lines, mut addresses, mut table, mut listens) = (Vec::new(), all.iter(), "", None);
    for line in text.lines() {
        if line.starts_with('[') {
            table = line;
        }
        match key(line) {
            Some("advertise") => {}
            Some("listen") if table == "[links]" => {
                listens = value(line).and_then(|value| value.parse().ok());
                lines.push(line.to_owned());
                lines.push(format!("advertise = \"{own}\""));
            }
            Some("address") => lines.push(format!("address = \"{}\"", addresses.next()?)),
            Some(_) | None => lines.push(line.to_owned()),
        }
    }
    Some((lines.join("\n") + "\n", listens?))
}

/// The configuration with another data folder.
pub(super) fn with_data_folder(text: &str, folder: &str) -> String {
    let line = |line: &str| match key(line) {
        Some("data_folder") => format!("data_folder = \"{folder}\"\n"),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The configuration with other ports of this machine: this one for clients, the next for nodes.
pub(super) fn listening_at(text: &str, port: u16) -> String {
    let mut ports = [port, port + 1].into_iter();
    let line = |line: &str| match key(line) {
        Some("listen") => ports
            .next()
            .map_or(String::new(), |port| format!("listen = \"127.0.0.1:{port}\"\n")),
        Some("advertise") => String::new(),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The data folder that a configuration names.
pub(super) fn data_folder(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| key(line) == Some("data_folder"))
        .and_then(value)
}

/// Where others are to dial the node of a configuration.
pub(super) fn dialed_at(text: &str) -> Option<&str> {
    let links = text.lines().skip_while(|line| *line != "[links]").skip(1);
    let links: Vec<&str> = links.take_while(|line| !line.starts_with('[')).collect();
    let is = |wanted| links.iter().find(|line| key(line) == Some(wanted));
    is("advertise").or_else(|| is("listen")).and_then(|line| value(line))
}

fn key(line: &str) -> Option<&str> {
    Some(line.split_once('=')?.0.trim())
}

fn value(line: &str) -> Option<&str> {
    Some(line.split_once('=')?.1.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATED: &str =
        "data_folder = \"node-1\"\n\n[s3]\nlisten = \"127.0.0.1:1\"\n\n[links]\nlisten = \"127.0.0.1:2\"\n
[[initial_layout.nodes]]\naddress = \"127.0.0.1:2\"\n[[initial_layout.nodes]]\naddress = \"127.0.0.1:3\"\n";

    #[test]
    fn proxies_stand_where_nodes_did_however_often_that_is_done() {
        let [own, other]: [SocketAddr; 2] = [12, 13].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (once, listens) = behind_proxies(GENERATED, own, &[own, other]).unwrap();
        assert_eq!(listens.port(), 2);
        assert_eq!(dialed_at(GENERATED), Some("127.0.0.1:2"));
        assert_eq!(dialed_at(&once), Some("127.0.0.1:12"));
        let links = "[links]\nlisten = \"127.0.0.1:2\"\nadvertise = \"127.0.0.1:12\"\n";
        assert!(once.contains(links), "{once}");
        assert!(once.ends_with("address = \"127.0.0.1:12\"\n[[initial_layout.nodes]]\naddress = \"127.0.0.1:13\"\n"));
        assert_eq!(behind_proxies(&once, own, &[own, other]), Some((once, listens)));
        assert_eq!(behind_proxies("", own, &[own]), None);
    }

    #[test]
    fn a_visitor_listens_elsewhere() {
        let visitor = listening_at(GENERATED, 7);
        assert!(visitor.contains("[s3]\nlisten = \"127.0.0.1:7\"\n\n[links]\nlisten = \"127.0.0.1:8\"\n"));
    }

    #[test]
    fn the_data_folder_is_found_and_changed() {
        assert_eq!(data_folder(GENERATED), Some("node-1"));
        assert_eq!(
            data_folder(&with_data_folder(GENERATED, "disk-1/node")),
            Some("disk-1/node")
        );
    }
}
