// SPDX-License-Identifier: MIT
#pragma once
// What is known of a template before it runs: that its filters and tests exist, which special arguments its macros take, and the names
// that are undefined in a scope until the scope sets them. The latter is jinja2's static view of scopes: a name that a scope sets
// before it reads it does not show a variable of the same name from outside the template, not even in a loop that stands before.
#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/jinja/ast.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

/// `HasFilter` and `HasTest` tell by name whether there is one.
template <class HasFilter, class HasTest>
class scope_analysis {
public:
    scope_analysis(tree& t, std::string_view template_name, HasFilter has_filter, HasTest has_test)
        : tree_(t), template_name_(template_name), has_filter_(has_filter), has_test_(has_test) {}

    void run() {
        scope root{nullptr};
        each(root, tree_.body);
        close(root, tree_.body, tree_.unset);
    }

private:
    using names = std::unordered_set<std::string>;

    struct scope {
        const scope* parent;
        names refs{};    // read, set or given here
        names stores{};  // set here
        names unset{};
        bool soft = false;  // within a condition, where an unknown filter is an error only when it is reached

        bool knows(const std::string& name) const {
            for (const scope* s = this; s != nullptr; s = s->parent)
                if (s->refs.count(name) > 0) return true;
            return false;
        }
        void load(const std::string& name) {
            if (!knows(name)) refs.insert(name);
        }
        void store(const std::string& name) {
            stores.insert(name);
            if (refs.count(name) > 0) return;
            if (parent == nullptr || !parent->knows(name)) unset.insert(name);
            refs.insert(name);
        }
    };

    void each(scope& s, const nodes& list) {
        for (node* n : list)
            if (n != nullptr) visit(s, *n);
    }

    /// The scopes within a body, once all of the scope around them is known.
    void close(scope& s, const nodes& body, std::vector<std::string>& unset) {
        unset.assign(s.unset.begin(), s.unset.end());
        for (node* n : body) inner_scopes(s, *n);
    }

    void visit(scope& s, node& n) {
        switch (n.kind) {
            case node_kind::name: s.load(n.name); break;
            case node_kind::field: s.load(n.name); break;
            case node_kind::assign:
                visit(s, *n.a[1]);
                target(s, *n.a[0]);
                break;
            case node_kind::block_set: target(s, *n.a[0]); break;
            case node_kind::branch: branch(s, n); break;
            case node_kind::conditional: {
                const bool outer = std::exchange(s.soft, true);
                each(s, n.a);
                s.soft = outer;
                break;
            }
            case node_kind::macro: s.store(n.name); break;
            case node_kind::loop: visit(s, *n.a[1]); break;
            case node_kind::call_block: visit(s, *n.a[0]); break;
            case node_kind::with: each(s, n.b); break;
            case node_kind::scope: break;
            default:
                check(s, n);
                for (const nodes* list : {&n.a, &n.b, &n.c}) each(s, *list);
        }
    }

    void target(scope& s, node& n) {
        if (n.kind == node_kind::name)
            s.store(n.name);
        else if (n.kind == node_kind::field)
            s.load(n.name);
        else
            for (node* part : n.a) target(s, *part);
    }

    /// Each branch starts from what is known before; what not all of them set shows what stands outside.
    void branch(scope& s, node& n) {
        const bool outer = std::exchange(s.soft, true);
        visit(s, *n.a[0]);
        const scope before = s;
        std::vector<scope> after;
        const auto follow = [&](auto visit_parts) {
            scope part = before;
            visit_parts(part);
            after.push_back(std::move(part));
        };
        follow([&](scope& part) { each(part, n.bodies[0]); });
        follow([&](scope& part) {
            for (std::size_t i = 1; i < n.a.size(); ++i) {
                visit(part, *n.a[i]);
                each(part, n.bodies[i]);
            }
        });
        follow([&](scope& part) { each(part, n.bodies.back()); });
        for (const scope& part : after) {
            s.refs.insert(part.refs.begin(), part.refs.end());
            s.stores.insert(part.stores.begin(), part.stores.end());
        }
        for (const scope& part : after)
            for (const std::string& name : part.unset) {
                const bool by_all =
                    std::all_of(after.begin(), after.end(), [&](const scope& other) { return other.stores.count(name) > 0; });
                if (by_all || before.unset.count(name) > 0) s.unset.insert(name);
            }
        s.soft = outer;
    }

    /// The scopes that a node opens, in itself or below.
    void inner_scopes(scope& s, node& n) {
        switch (n.kind) {
            case node_kind::branch: {
                const bool outer = std::exchange(s.soft, true);
                for (const nodes& body : n.bodies)
                    for (node* part : body) inner_scopes(s, *part);
                s.soft = outer;
                break;
            }
            case node_kind::loop: {
                scope inner{&s};
                parameter(inner, *n.a[0]);
                inner.refs.insert("loop");
                each(inner, n.body);
                close(inner, n.body, n.unset);
                scope test{&s};
                parameter(test, *n.a[0]);
                if (n.a[2] != nullptr) visit(test, *n.a[2]);
                scope otherwise{&s};
                each(otherwise, n.bodies[0]);
                std::vector<std::string> ignored;
                close(otherwise, n.bodies[0], ignored);
                break;
            }
            case node_kind::macro:
            case node_kind::call_block: {
                special_arguments(n);
                scope inner{&s};
                inner.refs.insert(n.names.begin(), n.names.end());
                inner.refs.insert({"caller", "varargs", "kwargs"});
                each(inner, n.b);
                open(inner, n);
                break;
            }
            case node_kind::with: {
                scope inner{&s};
                for (node* t : n.a) parameter(inner, *t);
                open(inner, n);
                break;
            }
            case node_kind::block_set: {
                scope inner{&s};
                if (n.a[1] != nullptr) visit(inner, *n.a[1]);
                open(inner, n);
                break;
            }
            case node_kind::filter_block: {
                scope inner{&s};
                visit(inner, *n.a[0]);
                open(inner, n);
                break;
            }
            case node_kind::scope: {
                scope inner{&s};
                open(inner, n);
                break;
            }
            default: break;
        }
    }

    void open(scope& inner, node& n) {
        each(inner, n.body);
        close(inner, n.body, n.unset);
    }

    void parameter(scope& s, const node& n) {
        if (n.kind == node_kind::name) s.refs.insert(n.name);
        for (const node* part : n.a) parameter(s, *part);
    }

    void check(const scope& s, const node& n) const {
        if (s.soft || (n.kind != node_kind::filter && n.kind != node_kind::test)) return;
        const bool known = n.kind == node_kind::filter ? has_filter_(n.name) : has_test_(n.name);
        if (!known)
            fail(errc::bad_file, concat(template_name_, ", line ", n.line), "there is no ",
                 n.kind == node_kind::filter ? "filter " : "test ", io::detail::in_quotes(n.name));
    }

    void special_arguments(node& n) {
        const auto uses = [&](std::string_view name) {
            return std::any_of(n.body.begin(), n.body.end(), [&](const node* part) { return reads(*part, name); });
        };
        n.uses_caller = uses("caller");
        n.uses_varargs = uses("varargs");
        n.uses_kwargs = uses("kwargs");
    }

    static bool reads(const node& n, std::string_view name) {
        if (n.kind == node_kind::name && n.name == name) return true;
        const auto any = [&](const nodes& list) {
            return std::any_of(list.begin(), list.end(), [&](const node* part) { return part != nullptr && reads(*part, name); });
        };
        return any(n.a) || any(n.b) || any(n.c) || any(n.body) || std::any_of(n.bodies.begin(), n.bodies.end(), any);
    }

    tree& tree_;
    std::string_view template_name_;
    HasFilter has_filter_;
    HasTest has_test_;
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
