//! What nodes tell each other of where they are comes to the same in any order.

use proptest::collection::vec as vectors;
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};
use trellis_node::folder::NodeName;
use trellis_node::link::PeerId;
use trellis_node::membership::{Book, Contact, Written};

fn name(node: u8) -> NodeName {
    NodeName {
        key: PeerId([node; 32]),
        disk: [node; 16],
    }
}

fn book(node: u8) -> Book {
    let addresses = vec![format!("node-{node}.example.org:3901")];
    Book::open(Written::default(), name(node), addresses, "host".to_owned(), Vec::new())
}

/// An entry is told by its node and number: nobody gives a number twice.
fn contacts() -> impl Strategy<Value = Vec<Contact>> {
    let contact = (1..6_u8, 1..5_u64).prop_map(|(node, number)| Contact {
        name: name(node),
        number,
        addresses: vec![format!("192.0.2.{node}:{number}")],
        host: format!("host-{number}"),
    });
    vectors(contact, 0..12)
}

proptest! {
    #[test]
    fn entries_are_heard_in_any_order(
        (told, shuffled) in contacts().prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
    ) {
        let (mut one, mut other) = (book(9), book(9));
        for contact in &told {
            let before = one.contact(contact.name.key).map_or(0, |held| held.number);
            one.hear(contact.clone());
            let after = one.contact(contact.name.key).map_or(0, |held| held.number);
            prop_assert!(after >= before && after >= contact.number);
        }
        shuffled.iter().chain(&shuffled).for_each(|contact| other.hear(contact.clone()));
        prop_assert_eq!(one.contacts(), other.contacts());
        prop_assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn two_that_tell_each_other_know_the_same(mine in contacts(), theirs in contacts()) {
        let (mut one, mut other) = (book(8), book(9));
        mine.into_iter().for_each(|contact| one.hear(contact));
        theirs.into_iter().for_each(|contact| other.hear(contact));
        for contact in one.contacts() {
            other.hear(contact);
        }
        other.contacts().into_iter().for_each(|contact| one.hear(contact));
        prop_assert_eq!(one.digest(), other.digest());
        let kept = Book::open(one.written(), name(8), one.mine().addresses.clone(), "host".to_owned(), Vec::new());
        prop_assert_eq!(kept.contacts(), one.contacts(), "what is written down comes back");
    }
}
