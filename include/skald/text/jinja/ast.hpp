// SPDX-License-Identifier: MIT
#pragma once
// A parsed template: nodes of one type, owned by their tree, which frees them without recursion.
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace skald::text::jinja {

/// Expressions first. In brackets what a node has beyond its line: `name`, `constant`, operands in `a`, further ones in `b` and `c`.
enum class node_kind : std::uint8_t {
    constant,  ///< [constant]
    name,      ///< [name]
    member,    ///< a.name [a: object; name]
    item,      ///< a[b] [a: object, key]
    slice,     ///< a:b:c as a key [a: three expressions, null where absent]
    list,      ///< [a: items]
    tuple,     ///< [a: items]
    dict,      ///< [a: keys, b: values]
    call,      ///< [a: callee, positional arguments…; b: values of named ones in `names`; c: *args, **kwargs, null where absent]
    filter,    ///< as call; name: the filter; the subject is null where a block gives it
    test,      ///< as call; name: the test
    negate,    ///< -a
    plus,      ///< +a
    logical_not,
    logical_and,
    logical_or,
    binary,       ///< arithmetic [name: the operator]
    concat,       ///< a ~ b ~ … [a]
    compare,      ///< a < b < … [a: operands; names: operators]
    conditional,  ///< b if a [a: condition, value, alternative or null]
    field,        ///< target of an assignment: a namespace's attribute [name, text: the attribute]

    data,          ///< template text [text]
    output,        ///< {{ a }}
    assign,        ///< [a: target, value]
    block_set,     ///< [a: target, filter or null; body]
    branch,        ///< if, elif … else [a: conditions; bodies: one each, and the last]
    loop,          ///< for [a: target, iterable, condition or null; body; bodies: else; recursive]
    macro,         ///< [name; names: parameters; b: defaults of the last ones; body]
    call_block,    ///< [a: the call; names, b: parameters of caller; body]
    filter_block,  ///< [a: filter; body]
    with,          ///< [a: targets; b: values; body]
    scope,         ///< a block that only has a scope of its own [body]
    break_loop,
    continue_loop,
};

struct node;
using nodes = std::vector<node*>;

/// A constant that a template spells out; strings are in `text` of the node.
using constant = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

struct node {
    node_kind kind;
    int line = 1;
    int height = 1;  ///< levels of nodes below and with this one
    std::string name{}, text{};
    constant value{};
    nodes a{}, b{}, c{};
    std::vector<std::string> names{};
    nodes body{};
    std::vector<nodes> bodies{};
    std::vector<std::string> unset{};  ///< names that are undefined in the node's scope until it sets them (see scopes.hpp)
    bool recursive = false;
    bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  ///< of macros and call blocks
};

/// Owns the nodes of a template.
struct tree {
    std::deque<node> all;
    nodes body;
    std::vector<std::string> unset;
};

}  // namespace skald::text::jinja
