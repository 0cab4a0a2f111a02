//! The lists that servers are asked for.

/// What a server has lists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::downstream) enum Listed {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Listed {
    /// The method that asks for the list.
    pub(in crate::downstream) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the entries.
    pub(in crate::downstream) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}
