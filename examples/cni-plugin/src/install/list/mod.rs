//! A network's configuration file as text, with our plugin at the end of its list or without it.
//!
//! The text is cut and not written anew: every byte that is not ours stays as its owner wrote it, and taking out what was put in
//! gives the very file that was there before.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::configuration::Agent;
use crate::version::{UnknownVersion, Version};

/// Our plugin's name: its `type` in a list, and its program's file name.
pub const TYPE: &str = "inpod-cni";

/// Our plugin's entry in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    text: String,
}

impl Entry {
    /// The entry of a plugin that asks this agent.
    #[must_use]
    pub fn new(agent: &Agent) -> Self {
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(rename = "agentSocket")]
            socket: Cow<'a, str>,
            #[serde(rename = "answerLimitSeconds")]
            limit: u64,
        }
        let fields =
            Fields { kind: TYPE, socket: agent.socket.to_string_lossy(), limit: agent.limit.as_secs() };
        // Text and a number: there is nothing in it that could not be written as JSON.
        Self { text: serde_json::to_string(&fields).unwrap_or_default() }
    }
}

/// Why a file is no network that a runtime would use, or none that we can be chained to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It is no JSON, or no object.
    #[error("it is no JSON object")]
    Json(#[source] serde_json::Error),
    /// It is no text.
    #[error("it is no UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// A field is not there, or not what it should be.
    #[error("{field} is missing or wrong")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// Its plugins are asked in a version of CNI that ours would refuse, so that no pod could start.
    #[error("cniVersion")]
    Version(#[source] UnknownVersion),
    /// Ours is the only plugin: there is nothing that it could be chained to.
    #[error("there is no other plugin")]
    Alone,
}

impl ListError {
    /// Whether a runtime passes over such a file. The others it uses, whatever we think of them.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        match self {
            Self::Json(_) | Self::Text(_) | Self::Field { .. } => true,
            Self::Version(_) | Self::Alone => false,
        }
    }
}

/// How a file holds its network, by its name (libcni: `.conf` and `.json` hold one plugin, `.conflist` a list).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One plugin.
    Single,
    /// A list of them.
    List,
}

impl Kind {
    /// What a file of this name holds; `None` if runtimes pass over it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "conf" | "json" => Some(Self::Single),
            "conflist" => Some(Self::List),
            _ => None,
        }
    }
}

/// A file that a runtime would use: its text, and where in it the plugins are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<'a> {
    text: &'a str,
    /// Just behind the bracket that opens the list.
    inside: usize,
    plugins: Vec<Plugin>,
    version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plugin {
    at: Range<usize>,
    is_ours: bool,
}

impl<'a> List<'a> {
    /// Reads a list as libcni does: it has a name and plugins, and each of them a type.
    ///
    /// # Errors
    /// [`ListError::Json`] and [`ListError::Field`].
    pub fn parse(text: &'a str) -> Result<Self, ListError> {
        let object: Object<'a> = serde_json::from_str(text).map_err(ListError::Json)?;
        object.text("name")?;
        let raw = object.find("plugins").ok_or(ListError::Field { field: "plugins" })?;
        let elements: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| ListError::Field { field: "plugins" })?;
        let plugins = elements
            .into_iter()
            .map(|element| Plugin::parse(text, element))
            .collect::<Result<Vec<_>, _>>()?;
        let inside = position(text, raw.get()).start.saturating_add(1);
        let version = object.version()?;
        Ok(Self { text, inside, plugins, version })
    }

    /// Whether a runtime has anything to run here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    /// The text with our plugin once, at the end. The same text if it is so already.
    ///
    /// # Errors
    /// [`ListError::Version`] and [`ListError::Alone`].
    pub fn with(&self, entry: &Entry) -> Result<String, ListError> {
        let last = self.plugins.iter().rposition(|plugin| !plugin.is_ours);
        let nothing = if self.is_empty() { ListError::Field { field: "plugins" } } else { ListError::Alone };
        let last = last.ok_or(nothing)?;
        // Without one it is 0.1.0 (section 1 of the specification).
        let version = self.version.as_deref().unwrap_or("0.1.0");
        version.parse::<Version>().map_err(ListError::Version)?;
        if self.is_installed(last, entry) {
            return Ok(self.text.to_owned());
        }
        let without = self.without();
        // What is left ends with a plugin that is not ours, so the next step comes to an end.
        let cleared = List::parse(&without)?;
        let end = cleared.plugins.last().map_or(cleared.inside, |plugin| plugin.at.end);
        let space = cleared.space_before_last();
        let (before, after) = without.split_at_checked(end).unwrap_or((&without, ""));
        Ok(format!("{before},{space}{}{after}", entry.text))
    }

    /// The text without our plugin. The same text if it is not in it.
    #[must_use]
    pub fn without(&self) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for cut in self.cuts() {
            text.push_str(self.text.get(from..cut.start).unwrap_or_default());
            from = cut.end;
        }
        text.push_str(self.text.get(from..).unwrap_or_default());
        text
    }

    /// What is to go: ours, each with the comma and the space that tie it to the one before; at the beginning, to the one behind.
    fn cuts(&self) -> Vec<Range<usize>> {
        let first_left = self.plugins.iter().position(|plugin| !plugin.is_ours);
        let Some(first_left) = first_left else {
            let ends = self.plugins.first().zip(self.plugins.last());
            return ends.map(|(first, last)| first.at.start..last.at.end).into_iter().collect();
        };
        let start = self.plugins.first().map_or(self.inside, |plugin| plugin.at.start);
        let left = self.plugins.get(first_left).map_or(start, |plugin| plugin.at.start);
        let pairs = self.plugins.iter().zip(self.plugins.iter().skip(1)).skip(first_left);
        let later =
            pairs.filter(|(_, plugin)| plugin.is_ours).map(|(before, plugin)| before.at.end..plugin.at.end);
        std::iter::once(start..left).chain(later).collect()
    }

    /// Ours is once there, behind all others, and as it should be.
    fn is_installed(&self, last: usize, entry: &Entry) -> bool {
        let mut ours = self.plugins.iter().enumerate().filter(|(_, plugin)| plugin.is_ours);
        let (only, more) = (ours.next(), ours.next());
        let text = |plugin: &Plugin| self.text.get(plugin.at.clone()).unwrap_or_default();
        let same = |plugin: &Plugin| {
            let parse = serde_json::from_str::<serde_json::Value>;
            matches!((parse(text(plugin)), parse(&entry.text)), (Ok(found), Ok(wanted)) if found == wanted)
        };
        more.is_none() && only.is_some_and(|(at, plugin)| at > last && same(plugin))
    }

    /// The space before the last plugin, so that ours stands like it.
    fn space_before_last(&self) -> &str {
        let start = self.plugins.last().map_or(self.inside, |plugin| plugin.at.start);
        let before = self.text.get(..start).unwrap_or_default();
        let space = before.len().saturating_sub(before.trim_end_matches(JSON_SPACE).len());
        before.get(before.len().saturating_sub(space)..).unwrap_or_default()
    }
}

/// RFC 8259, section 2.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

impl Plugin {
    fn parse(text: &str, element: &RawValue) -> Result<Self, ListError> {
        let field = ListError::Field { field: "type" };
        let Ok(object) = serde_json::from_str::<Object<'_>>(element.get()) else { return Err(field) };
        let kind = object.text("type")?;
        Ok(Self { at: position(text, element.get()), is_ours: kind == TYPE })
    }
}

/// A file of one plugin as a list of it and ours. The plugin stays as it is; the list has its name, under which its addresses are
/// kept (`host-local`), and its version.
///
/// # Errors
/// [`ListError`].
pub fn convert(text: &str, entry: &Entry) -> Result<String, ListError> {
    let object: Object<'_> = serde_json::from_str(text).map_err(ListError::Json)?;
    let (name, kind) = (object.text("name")?, object.text("type")?);
    if kind == TYPE {
        return Err(ListError::Alone);
    }
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let version = object.version()?.map(|version| format!("\n  \"cniVersion\": {},", quoted(version)));
    let list = format!(
        "{{{}\n  \"name\": {},\n  \"plugins\": [\n    {}\n  ]\n}}\n",
        version.unwrap_or_default(),
        quoted(name),
        text.trim_matches(JSON_SPACE)
    );
    List::parse(&list)?.with(entry)
}

/// An object as Go reads one: of a field that is there twice, the last counts.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    fn find(&self, field: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == field).map(|(_, raw)| *raw)
    }

    /// The version is a text, of whatever content, or not there.
    fn version(&self) -> Result<Option<String>, ListError> {
        let version = self.find("cniVersion").map(|raw| serde_json::from_str(raw.get())).transpose();
        version.map_err(|_| ListError::Field { field: "cniVersion" })
    }

    /// A field that is a text, and not an empty one.
    fn text(&self, field: &'static str) -> Result<String, ListError> {
        let raw = self.find(field).map_or("", RawValue::get);
        let text = serde_json::from_str::<String>(raw).ok().filter(|text| !text.is_empty());
        text.ok_or(ListError::Field { field })
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Where a part that was borrowed from a text is in it.
fn position(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start.saturating_add(part.len())
}

#[cfg(test)]
mod tests;
