//! Which node can hand a replica to which, and at what cost.
//!
//! An *exchange* replaces a node of one partition's set by another, so that the set stays legal. It costs a move more, a
//! move less, or nothing. For a pair of nodes only the number of partitions that offer an exchange at each cost is kept;
//! which one it is, is looked up when the exchange is made.

use alloc::vec;
use alloc::vec::Vec;
use core::iter::successors;

use super::problem::{Problem, Share};

/// Sets of nodes for all partitions, and the exchanges between them.
pub(super) struct Board<'a> {
    problem: &'a Problem,
    pub(super) sets: Vec<Vec<usize>>,
    pub(super) load: Vec<u64>,
    room: Vec<u64>,
    /// For a pair of nodes, how many partitions offer the exchange for one move less, no move, one move more.
    offers: Vec<[u32; 3]>,
    /// For a pair of nodes, the moves of the cheapest exchange. It follows from `offers`, and is small and asked often.
    cheapest: Vec<Option<i8>>,
}

/// The cheapest way of getting a replica from a node to one with room: of equals, the one of fewest exchanges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    moves: i64,
    exchanges: usize,
    next: usize,
}

impl<'a> Board<'a> {
    pub(super) fn new(problem: &'a Problem, sets: Vec<Vec<usize>>, size: u64) -> Self {
        let nodes = problem.nodes.len();
        let mut board = Board {
            room: (0..nodes).map(|node| problem.room(node, size)).collect(),
            load: vec![0; nodes],
            offers: vec![[0; 3]; nodes * nodes],
            cheapest: vec![None; nodes * nodes],
            problem,
            sets,
        };
        board.sets.iter().flatten().for_each(|node| board.load[*node] += 1);
        (0..board.sets.len()).for_each(|partition| board.count(partition, |offers| *offers += 1));
        board
    }

    pub(super) fn has_too_much(&self, node: usize) -> bool {
        self.load[node] > self.room[node]
    }

    /// From every node, the cheapest route to a node with room; where there is none, a route that [is
    /// far](Self::is_far).
    pub(super) fn routes(&self) -> Vec<Route> {
        let nodes = self.load.len();
        let at = |node| Route {
            moves: if self.load[node] < self.room[node] {
                0
            } else {
                self.far()
            },
            exchanges: 0,
            next: node,
        };
        let mut routes: Vec<Route> = (0..nodes).map(at).collect();
        self.until_settled(|from, to, moves| {
            let route = Route {
                moves: moves + routes[to].moves,
                exchanges: routes[to].exchanges + 1,
                next: to,
            };
            let is_better = (route.moves, route.exchanges) < (routes[from].moves, routes[from].exchanges);
            if is_better {
                routes[from] = route;
            }
            is_better
        });
        routes
    }

    /// For every node, how many moves could be saved if it had room for another replica.
    pub(super) fn prices(&self) -> Vec<i64> {
        let mut prices = vec![0; self.load.len()];
        self.until_settled(|from, to, moves| {
            let is_more = prices[from] - moves > prices[to];
            if is_more {
                prices[to] = prices[from] - moves;
            }
            is_more
        });
        prices
    }

    /// Goes over all pairs of nodes, each with the cost of its cheapest exchange, until nothing improves (Bellman and
    /// Ford). That is after at most a round for each node, for no circle of exchanges saves a move.
    fn until_settled(&self, mut improve: impl FnMut(usize, usize, i64) -> bool) {
        let nodes = self.load.len();
        for _ in 0..nodes {
            let mut is_settled = true;
            for (from, row) in self.cheapest.chunks_exact(nodes).enumerate() {
                for (to, moves) in row.iter().enumerate() {
                    is_settled &= !moves.is_some_and(|moves| improve(from, to, i64::from(moves)));
                }
            }
            if is_settled {
                break;
            }
        }
    }

    /// Does the route lead nowhere? One that leads somewhere costs at most a move for each node that it passes.
    pub(super) fn is_far(&self, route: &Route) -> bool {
        route.moves > self.load.len() as i64
    }

    /// So far that even with a move less for every node it is [`is_far`](Self::is_far).
    fn far(&self) -> i64 {
        4 * self.load.len() as i64
    }

    /// Hands a replica on along a route. All exchanges are chosen before any is made: it is for this state that the
    /// route, having the fewest exchanges of all that are as cheap, leaves every set legal even if one partition makes
    /// several of them (Krogdahl's lemma; Schrijver, *Combinatorial Optimization*, chapters 39 and 41).
    pub(super) fn follow(&mut self, routes: &[Route], node: usize) {
        let next = |node: &usize| Some(routes[*node].next).filter(|next| next != node);
        let nodes: Vec<usize> = successors(Some(node), next).take(routes.len()).collect();
        let exchange = |pair: &[usize]| (self.find(pair[0], pair[1]), pair[0], pair[1]);
        let exchanges: Vec<_> = nodes.windows(2).map(exchange).collect();
        for (partition, from, to) in exchanges {
            self.exchange(partition, from, to);
        }
    }

    /// A partition that offers the cheapest exchange between two nodes of a route.
    fn find(&self, from: usize, to: usize) -> usize {
        let cheapest = self.cheapest[from * self.load.len() + to];
        let offers = |partition: &usize| {
            let (share, set) = (&self.problem.shares[*partition], &self.sets[*partition]);
            cheapest == Some(moves(share, from, to)) && self.problem.may_exchange(share, set, from, to)
        };
        (0..self.sets.len()).find(offers).expect("it was counted")
    }

    fn exchange(&mut self, partition: usize, from: usize, to: usize) {
        self.count(partition, |offers| *offers -= 1);
        let set = &mut self.sets[partition];
        set.retain(|node| *node != from);
        set.push(to);
        set.sort();
        self.load[from] -= 1;
        self.load[to] += 1;
        self.count(partition, |offers| *offers += 1);
    }

    /// Counts every exchange that a partition offers.
    fn count(&mut self, partition: usize, change: impl Fn(&mut u32)) {
        let (share, set) = (&self.problem.shares[partition], &self.sets[partition]);
        for (from, to) in set
            .iter()
            .flat_map(|from| (0..self.load.len()).map(move |to| (*from, to)))
        {
            if self.problem.may_exchange(share, set, from, to) {
                let pair = from * self.load.len() + to;
                let offers = &mut self.offers[pair];
                // One of three: a move less, no move, a move more.
                change(&mut offers[(moves(share, from, to) + 1) as usize]);
                let cheapest = (-1..).zip(offers).find(|(_, offers)| **offers > 0);
                self.cheapest[pair] = cheapest.map(|(moves, _)| moves);
            }
        }
    }
}

/// How many moves more it makes to have the partition at `to` than at `from`.
fn moves(share: &Share, from: usize, to: usize) -> i8 {
    i8::from(share.is_new_to(to)) - i8::from(share.is_new_to(from))
}
