// SPDX-License-Identifier: Apache-2.0
// Options: one table of configuration keys, and the values that a stack file and the command line give them.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace droste {

enum class OptionType : u8 {
    text,          ///< any string
    name_or_file,  ///< a known name, or a file that ends in .toml, which is resolved like a path
    path,          ///< a file; a relative one is meant from the folder of the stack file that names it
    paths,         ///< a list of files, each with optional arguments after a blank
    boolean,       ///< true, false
    integer,       ///< with `unit`; decimal, 0x..., or with a factor k, M, G (1000)
    size,          ///< bytes: "2GiB", "512MiB", "64KiB"
    seconds,       ///< "90", "1.5", "10min", "2h"; kept in milliseconds
    choice,        ///< one of `choices`
};

/// A key of the configuration. Everything that is said about a key is said here: reading, checking, help and
/// documentation derive from it.
struct OptionRow {
    std::string_view key;
    OptionType type = OptionType::text;
    std::string_view default_text;  ///< as a user would write it
    std::string_view help;          ///< the first sentence stands in `config list`, all in `config explain`
    std::string_view unit = "";
    u64 min = 0;  ///< integer; size in bytes; seconds in milliseconds
    u64 max = ~0ull;
    std::string_view choices = "";  ///< for `choice`: "a|b|c"
    bool of_model = false;          ///< may be `model` too: what cpu.model has
};

/// The rows of the board itself.
std::span<const OptionRow> machine_options();

/// The tables of all keys.
std::vector<std::span<const OptionRow>> all_options();

/// The values of all keys.
class Options {
public:
    using Tables = std::vector<std::span<const OptionRow>>;
    using Value = std::variant<std::string, bool, u64, std::vector<std::string>>;

    /// All keys at their defaults. The tables must outlive this object.
    explicit Options(Tables tables = all_options());

    /// Reads a TOML stack file over the present values.
    Status load_file(const std::string& path);
    /// As load_file, of a text that came from `name`; relative paths are meant from `folder`.
    Status load_text(std::string_view toml, const std::string& name, const std::string& folder);
    /// Takes "key=value", as --set has it.
    Status set(std::string_view assignment);
    /// Sets one key; `origin` names the place for messages ("--depth").
    Status set(std::string_view key, std::string_view value, std::string_view origin,
               const std::string& folder = "");
    /// Sets a list of files as it is.
    void set_paths(std::string_view key, std::vector<std::string> values, std::string_view origin);

    const std::string& text(std::string_view key) const;
    bool flag(std::string_view key) const;
    u64 number(std::string_view key) const;  ///< integer, size (bytes), seconds (milliseconds)
    const std::vector<std::string>& paths(std::string_view key) const;
    /// Of a key with `of_model`: its value is `model`.
    bool left_to_model(std::string_view key) const;
    /// Where the present value came from: "default", "stack.toml:12", "--set".
    const std::string& origin(std::string_view key) const;
    bool is_default(std::string_view key) const { return origin(key) == "default"; }
    /// The value as a user would write it.
    std::string shown(std::string_view key) const;

    const OptionRow* find(std::string_view key) const;
    std::vector<const OptionRow*> rows() const;
    /// The known key that is most like `key`, or "" when none is alike.
    std::string_view nearest(std::string_view key) const;

private:
    struct Slot {
        const OptionRow* row;
        Value value;
        std::string origin = "default";
    };
    const Slot& slot(std::string_view key) const;
    Slot* slot_of(std::string_view key);
    Error unknown_key(std::string_view key, std::string_view place) const;
    std::vector<Slot> slots_;
};

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b);
Result<u64> parse_size(std::string_view text);
Result<u64> parse_integer(std::string_view text);
Result<u64> parse_milliseconds(std::string_view text);
std::string show_size(u64 bytes);

/// The aligned table of all keys; `colour` for a terminal.
std::string list_options(const Options& options, bool colour);
/// All that is known about one key, or an error that names the nearest one.
Result<std::string> explain_option(const Options& options, std::string_view key);

}  // namespace droste
