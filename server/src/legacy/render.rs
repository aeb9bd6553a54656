//! What each file says.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_engine::Member;

use super::children::Child;
use super::json::{self, Inspect, Privacy};
use crate::docker::Container;

/// Names of the files, wherever they are.
pub(super) mod name {
    pub(in super::super) const ME: &str = "me.json";
    pub(in super::super) const PARENT: &str = "parent.json";
    pub(in super::super) const CHILDREN: &str = "children_by_name.json";
    pub(in super::super) const BY_ID: &str = "serfnodes_by_id.json";
    pub(in super::super) const BY_ROLE: &str = "serfnodes_by_role.json";
}

/// A file: name and content.
pub(super) type Text = (&'static str, Arc<[u8]>);

/// All files of one moment.
#[derive(Debug)]
pub(super) struct Texts {
    /// Of the cluster.
    nodes: [Text; 2],
    /// Of the container that the daemon runs in.
    me: Arc<[u8]>,
    children_by_name: Arc<[u8]>,
    /// By name of the child.
    each: BTreeMap<String, Arc<[u8]>>,
}

impl Texts {
    /// In the root directory.
    pub(super) fn of_root(&self) -> Vec<Text> {
        let mut texts = self.nodes.to_vec();
        texts.push((name::ME, Arc::clone(&self.me)));
        texts.push((name::CHILDREN, Arc::clone(&self.children_by_name)));
        texts
    }

    /// In the directory that all children share.
    pub(super) fn shared(&self) -> Vec<Text> {
        let mut texts = self.nodes.to_vec();
        texts.push((name::PARENT, Arc::clone(&self.me)));
        texts
    }

    /// For one child, `me.json` last: where it is, all are.
    pub(super) fn of_child(&self, child: &Child) -> Vec<Text> {
        let mut texts = self.shared();
        let me = self.each.get(&child.key).into_iter();
        texts.extend(me.map(|me| (name::ME, Arc::clone(me))));
        texts
    }
}

/// Writes the files, and remembers what it made of each container.
#[derive(Debug)]
pub(super) struct Renderer {
    node: Arc<str>,
    privacy: Privacy,
    made: BTreeMap<Arc<str>, Made>,
}

#[derive(Debug)]
struct Made {
    of: Arc<Container>,
    parent: Option<Arc<Container>>,
    inspect: Arc<Inspect>,
}

impl Renderer {
    pub(super) fn new(node: Arc<str>, privacy: Privacy) -> Self {
        Self {
            node,
            privacy,
            made: BTreeMap::new(),
        }
    }

    pub(super) fn render(
        &mut self,
        alive: &[Arc<Member>],
        me: Option<&Arc<Container>>,
        children: &[Child],
    ) -> Texts {
        let mut before = std::mem::take(&mut self.made);
        let mine = me.map(|me| self.inspect(&mut before, me, None));
        let inspects: Vec<(&Child, Arc<Inspect>)> = children
            .iter()
            .map(|child| {
                let parent = me.filter(|_| child.shares_network);
                (child, self.inspect(&mut before, &child.container, parent))
            })
            .collect();
        let node = &*self.node;
        let each = inspects
            .iter()
            .map(|(child, inspect)| (child.key.clone(), json::container(node, inspect).into()));
        let by_name = inspects
            .iter()
            .map(|(child, inspect)| (&*child.key, inspect));
        let none = Inspect::none();
        Texts {
            nodes: [
                (name::BY_ID, json::by_id(alive).into()),
                (name::BY_ROLE, json::by_role(alive).into()),
            ],
            me: json::container(node, mine.as_deref().unwrap_or(&none)).into(),
            each: each.collect(),
            children_by_name: json::children_by_name(node, by_name).into(),
        }
    }

    fn inspect(
        &mut self,
        before: &mut BTreeMap<Arc<str>, Made>,
        container: &Arc<Container>,
        parent: Option<&Arc<Container>>,
    ) -> Arc<Inspect> {
        let is_same = |made: &Made| {
            let parents = match (&made.parent, parent) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (Some(_), None) | (None, Some(_)) => false,
            };
            parents && Arc::ptr_eq(&made.of, container)
        };
        let made = before.remove(&container.id).filter(is_same);
        let made = made.unwrap_or_else(|| {
            let network = parent.map(|parent| &*parent.inspect);
            let inspect = Inspect::new(&container.inspect, network, self.privacy);
            Made {
                of: Arc::clone(container),
                parent: parent.cloned(),
                inspect: Arc::new(inspect),
            }
        });
        let inspect = Arc::clone(&made.inspect);
        self.made.insert(Arc::clone(&container.id), made);
        inspect
    }
}
