// SPDX-License-Identifier: MIT
#pragma once
// Runs a template's tree: statements write to a text, expressions give values.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/ast.hpp>
#include <skald/text/jinja/filters.hpp>
#include <skald/text/jinja/globals.hpp>
#include <skald/text/jinja/loop.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/scope.hpp>
#include <skald/text/jinja/tests.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

class evaluator {
public:
    using variables = std::unordered_map<std::string, value>;

    /// `given` are the variables around all scopes; the global functions are added to it.
    evaluator(runtime& rt, const tree& t, variables given) : rt_(rt), tree_(t), given_(std::move(given)) {
        for (const global_entry& g : global_table)
            given_.emplace(
                g.name, rt_.make_function(std::string(g.name), [run = g.run](runtime& r, call_arguments& args) { return run(r, args); }));
    }

    marked_text run() {
        marked_text out;
        execute(tree_.body, std::make_shared<scope>(nullptr, &tree_.unset), out);
        return out;
    }

private:
    enum class flow { on, break_loop, continue_loop };

    // Statements

    flow execute(const nodes& body, const scope_ref& s, marked_text& out) {
        for (const node* n : body)
            if (const flow f = execute(*n, s, out); f != flow::on) return f;
        return flow::on;
    }

    flow execute(const node& n, const scope_ref& s, marked_text& out) {
        const runtime::level deeper(rt_);
        rt_.step();
        rt_.at_line(n.line);
        switch (n.kind) {
            case node_kind::data: write(out, n); break;
            case node_kind::output: output(*n.a[0], s, out); break;
            case node_kind::assign: assign(*n.a[0], evaluate(*n.a[1], s), s); break;
            case node_kind::block_set: block_set(n, s); break;
            case node_kind::branch: return branch(n, s, out);
            case node_kind::loop: return loop(n, s, evaluate(*n.a[1], s), 0, out);
            case node_kind::macro: define(n, s); break;
            case node_kind::call_block: call_block(n, s, out); break;
            case node_kind::filter_block: filter_block(n, s, out); break;
            case node_kind::with: return with(n, s, out);
            case node_kind::scope: return execute(n.body, inner(s, n), out);
            case node_kind::break_loop: return flow::break_loop;
            case node_kind::continue_loop: return flow::continue_loop;
            default: break;
        }
        return flow::on;
    }

    void write(marked_text& out, const node& n) {
        rt_.work(n.text.size());
        rt_.require(out.size() + n.text.size());
        out.append(n.text, true);
    }

    void output(const node& n, const scope_ref& s, marked_text& out) {
        const value v = evaluate(n, s);
        append_text(rt_, out, v);
        rt_.work(v.is_string() ? v.text().size() : 1);
    }

    static scope_ref inner(const scope_ref& s, const node& n) { return std::make_shared<scope>(s, &n.unset); }

    value rendered(const nodes& body, const scope_ref& s) {
        marked_text out;
        execute(body, s, out);
        return rt_.string(std::move(out));
    }

    void assign(const node& target, value v, const scope_ref& s) {
        if (target.kind == node_kind::name) {
            s->set(target.name, std::move(v));
        } else if (target.kind == node_kind::field) {
            const value owner = variable(target.name, *s);
            const auto* n = owner.as<space>();
            if (n == nullptr) rt_.fail("cannot assign attribute on non-namespace object '", target.name, "'");
            if (target.text.starts_with('_')) rt_.fail("namespaces have no attributes that start with an underscore");
            rt_.set(*n->members, "s" + target.text, rt_.literal(target.text), std::move(v));
        } else {
            const std::vector<value> parts = items_of(rt_, v);
            if (parts.size() != target.a.size())
                rt_.fail(parts.size() < target.a.size() ? "not enough" : "too many", " values to unpack (expected ", target.a.size(),
                         ", got ", parts.size(), ")");
            for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.a[i], parts[i], s);
        }
    }

    void block_set(const node& n, const scope_ref& s) {
        const scope_ref body = inner(s, n);
        value v = rendered(n.body, body);
        if (n.a[1] != nullptr) v = filtered(*n.a[1], body, v);
        assign(*n.a[0], std::move(v), s);
    }

    flow branch(const node& n, const scope_ref& s, marked_text& out) {
        for (std::size_t i = 0; i < n.a.size(); ++i)
            if (truth(evaluate(*n.a[i], s))) return execute(n.bodies[i], s, out);
        return execute(n.bodies.back(), s, out);
    }

    flow loop(const node& n, const scope_ref& s, const value& iterable, int depth, marked_text& out) {
        std::optional<std::size_t> length = length_of(iterable);
        auto next = cursor(rt_, iterable);
        if (const node* condition = n.a[2]; condition != nullptr) {
            length.reset();
            next = [this, &n, s, condition, all = std::move(next)]() -> std::optional<value> {
                while (auto v = all()) {
                    const auto test = std::make_shared<scope>(s, nullptr);
                    assign(*n.a[0], *v, test);
                    if (truth(evaluate(*condition, test))) return v;
                }
                return std::nullopt;
            };
        }
        loop_state::recursion recurse;
        if (n.recursive)
            recurse = [this, &n, s](const value& other, int d) {
                const runtime::level deeper(rt_);
                marked_text text;
                loop(n, s, other, d, text);
                return rt_.string(std::move(text));
            };
        auto* state = rt_.make<loop_state>(256, std::move(next), length, depth, std::move(recurse));
        bool any = false;
        for (; state->advance(); any = true) {
            rt_.step();
            const scope_ref body = inner(s, n);
            assign(*n.a[0], state->current(), body);
            body->set("loop", state);
            if (execute(n.body, body, out) == flow::break_loop) return flow::on;
        }
        return any ? flow::on : execute(n.bodies[0], inner_plain(s), out);
    }

    static scope_ref inner_plain(const scope_ref& s) { return std::make_shared<scope>(s, nullptr); }

    flow with(const node& n, const scope_ref& s, marked_text& out) {
        const scope_ref body = inner(s, n);
        for (std::size_t i = 0; i < n.a.size(); ++i) assign(*n.a[i], evaluate(*n.b[i], s), body);
        return execute(n.body, body, out);
    }

    void filter_block(const node& n, const scope_ref& s, marked_text& out) {
        const scope_ref body = inner(s, n);
        append_text(rt_, out, filtered(*n.a[0], body, rendered(n.body, body)));
    }

    // Macros

    class macro final : public callable {
    public:
        macro(evaluator& e, const node& n, scope_ref s) : evaluator_(e), node_(n), scope_(std::move(s)) {}

        std::string description() const override {
            return concat("<Macro ", node_.kind == node_kind::macro ? "'" + node_.name + "'" : "anonymous", ">");
        }
        value call(runtime&, call_arguments args) override { return evaluator_.call_macro(node_, scope_, std::move(args)); }
        std::optional<value> attribute(runtime& rt, std::string_view name) override {
            if (name == "name") return node_.kind == node_kind::macro ? rt.literal(node_.name) : value();
            if (name == "caller") return value(node_.uses_caller);
            if (name == "catch_kwargs") return value(node_.uses_kwargs);
            if (name == "catch_varargs") return value(node_.uses_varargs);
            if (name != "arguments") return std::nullopt;
            std::vector<value> names;
            for (const std::string& parameter : node_.names) names.push_back(rt.literal(parameter));
            return rt.tuple(std::move(names));
        }

    private:
        evaluator& evaluator_;
        const node& node_;
        const scope_ref scope_;
    };

    value make_macro(const node& n, const scope_ref& s) { return rt_.make<macro>(s->bytes(), *this, n, s); }
    void define(const node& n, const scope_ref& s) { s->set(n.name, make_macro(n, s)); }

    value call_macro(const node& n, const scope_ref& outer, call_arguments args) {
        const scope_ref s = inner(outer, n);
        const std::size_t count = n.names.size(), plain = count - n.b.size();
        for (std::size_t i = 0; i < count; ++i) {
            std::optional<value> v = i < args.positional.size() ? std::optional(args.positional[i]) : args.take(n.names[i]);
            if (!v && i >= plain) v = evaluate(*n.b[i - plain], s);
            s->set(n.names[i], v ? std::move(*v) : rt_.undefined(concat("parameter '", n.names[i], "' was not provided")));
        }
        const bool own_caller = std::find(n.names.begin(), n.names.end(), "caller") != n.names.end();
        if (n.uses_caller && !own_caller) {
            const auto caller = args.take("caller");
            s->set("caller", caller && !caller->is_none() ? *caller : rt_.undefined("No caller defined"));
        }
        if (n.uses_kwargs) {
            dict* rest = rt_.make_dict();
            for (auto& [name, v] : args.named) rt_.set(*rest, "s" + name, rt_.literal(name), std::move(v));
            s->set("kwargs", rest);
        } else if (!args.named.empty()) {
            rt_.fail("macro '", n.name, "' takes no keyword argument '", args.named[0].first, "'");
        }
        if (n.uses_varargs) {
            const auto first = static_cast<std::ptrdiff_t>(std::min(count, args.positional.size()));
            s->set("varargs", rt_.tuple({args.positional.begin() + first, args.positional.end()}));
        } else if (args.positional.size() > count) {
            rt_.fail("macro '", n.name, "' takes not more than ", count, " argument(s)");
        }
        return rendered(n.body, s);
    }

    void call_block(const node& n, const scope_ref& s, marked_text& out) {
        const node& call = *n.a[0];
        const value callee = evaluate(*call.a[0], s);
        call_arguments args = arguments(call, s);
        args.named.emplace_back("caller", make_macro(n, s));
        append_text(rt_, out, call_value(rt_, callee, std::move(args)));
    }

    // Expressions

    value evaluate(const node& n, const scope_ref& s) {
        const runtime::level deeper(rt_);
        rt_.step();
        rt_.at_line(n.line);
        switch (n.kind) {
            case node_kind::constant: return constant_value(n);
            case node_kind::name: return variable(n.name, *s);
            case node_kind::member: return get_attribute(rt_, evaluate(*n.a[0], s), n.name);
            case node_kind::item: return item(n, s);
            case node_kind::list: return rt_.list(values(n.a, s));
            case node_kind::tuple: return rt_.tuple(values(n.a, s));
            case node_kind::dict: return dict_of(n, s);
            case node_kind::call: return call(n, s);
            case node_kind::filter: return filtered(n, s, value());
            case node_kind::test: return test(n, s);
            case node_kind::negate:
            case node_kind::plus: return signed_value(rt_, evaluate(*n.a[0], s), n.kind == node_kind::negate);
            case node_kind::logical_not: return !truth(evaluate(*n.a[0], s));
            case node_kind::logical_and:
            case node_kind::logical_or: return logical(n, s);
            case node_kind::binary: return arithmetic_node(n, s);
            case node_kind::concat: return concatenated(n, s);
            case node_kind::compare: return comparison(n, s);
            case node_kind::conditional: return conditional(n, s);
            default: return value();
        }
    }

    value constant_value(const node& n) {
        if (const auto* text = std::get_if<std::string>(&n.value)) return rt_.literal(*text);
        if (const auto* b = std::get_if<bool>(&n.value)) return *b;
        if (const auto* i = std::get_if<std::int64_t>(&n.value)) return *i;
        if (const auto* x = std::get_if<double>(&n.value)) return *x;
        return none_type();
    }

    value variable(const std::string& name, const scope& s) {
        bool hidden = false;
        if (const value* v = s.find(name, hidden)) return *v;
        const auto given = hidden ? given_.end() : given_.find(name);
        return given != given_.end() ? given->second : rt_.undefined(concat("'", name, "' is undefined"));
    }

    std::vector<value> values(const nodes& list, const scope_ref& s) {
        std::vector<value> out;
        out.reserve(list.size());
        for (const node* n : list) out.push_back(evaluate(*n, s));
        return out;
    }

    value item(const node& n, const scope_ref& s) {
        const value of = evaluate(*n.a[0], s);
        const node& key = *n.a[1];
        if (key.kind != node_kind::slice) return get_item(rt_, of, evaluate(key, s));
        const auto part = [&](std::size_t i) { return key.a[i] == nullptr ? value() : evaluate(*key.a[i], s); };
        const value first = part(0), last = part(1), step = part(2);
        return get_slice(rt_, of, first, last, step);
    }

    value dict_of(const node& n, const scope_ref& s) {
        dict* out = rt_.make_dict();
        for (std::size_t i = 0; i < n.a.size(); ++i) {
            value key = evaluate(*n.a[i], s);
            value v = evaluate(*n.b[i], s);
            std::string text = key_or_fail(rt_, key);
            rt_.set(*out, std::move(text), std::move(key), std::move(v));
        }
        return out;
    }

    call_arguments arguments(const node& n, const scope_ref& s) {
        call_arguments out;
        for (std::size_t i = 1; i < n.a.size(); ++i) out.positional.push_back(evaluate(*n.a[i], s));
        for (std::size_t i = 0; i < n.b.size(); ++i) out.named.emplace_back(n.names[i], evaluate(*n.b[i], s));
        if (!n.c.empty() && n.c[0] != nullptr)
            for (value& v : items_of(rt_, evaluate(*n.c[0], s))) out.positional.push_back(std::move(v));
        if (!n.c.empty() && n.c[1] != nullptr) more_named(out, evaluate(*n.c[1], s));
        return out;
    }

    void more_named(call_arguments& out, const value& v) {
        const auto* d = v.as<dict>();
        if (d == nullptr) rt_.fail("argument after ** must be a mapping, not ", type_name(v));
        for (const auto& [key, member] : d->entries) {
            if (!key.is_string()) rt_.fail("keywords must be strings");
            if (out.take(key.view())) rt_.fail("got multiple values for keyword argument '", key.view(), "'");
            out.named.emplace_back(std::string(key.view()), member);
        }
    }

    value call(const node& n, const scope_ref& s) {
        const node& callee = *n.a[0];
        if (callee.kind != node_kind::member) {
            const value f = evaluate(callee, s);
            return call_value(rt_, f, arguments(n, s));
        }
        const value of = evaluate(*callee.a[0], s);
        if (of.is_undefined()) rt_.fail_undefined(of);
        if (const method_function m = find_method(of, callee.name)) {
            call_arguments args = arguments(n, s);
            rt_.at_line(n.line);
            return m(rt_, of, args);
        }
        const value f = get_attribute(rt_, of, callee.name);
        return call_value(rt_, f, arguments(n, s));
    }

    /// A chain of filters; the first one of a block's has `innermost` as its subject.
    value filtered(const node& n, const scope_ref& s, const value& innermost) {
        const node* below = n.a[0];
        const value subject = below == nullptr                   ? innermost
                              : below->kind == node_kind::filter ? filtered(*below, s, innermost)
                                                                 : evaluate(*below, s);
        call_arguments args = arguments(n, s);
        rt_.at_line(n.line);
        return run_filter(rt_, n.name, subject, args);
    }

    value test(const node& n, const scope_ref& s) {
        const value subject = evaluate(*n.a[0], s);
        call_arguments args = arguments(n, s);
        return run_test(rt_, n.name, subject, args);
    }

    value logical(const node& n, const scope_ref& s) {
        value left = evaluate(*n.a[0], s);
        return truth(left) == (n.kind == node_kind::logical_or) ? left : evaluate(*n.a[1], s);
    }

    value arithmetic_node(const node& n, const scope_ref& s) {
        const value left = evaluate(*n.a[0], s);
        const value right = evaluate(*n.a[1], s);
        return binary(rt_, n.name, left, right);
    }

    value concatenated(const node& n, const scope_ref& s) {
        marked_text out;
        for (const value& v : values(n.a, s)) append_text(rt_, out, v);
        return rt_.string(std::move(out));
    }

    value comparison(const node& n, const scope_ref& s) {
        value left = evaluate(*n.a[0], s);
        for (std::size_t i = 0; i < n.names.size(); ++i) {
            value right = evaluate(*n.a[i + 1], s);
            if (!compared(n.names[i], left, right)) return false;
            left = std::move(right);
        }
        return true;
    }

    bool compared(std::string_view op, const value& a, const value& b) {
        if (op == "==" || op == "!=") return equal(rt_, a, b) == (op == "==");
        if (op == "in" || op == "not in") return contains(rt_, b, a) == (op == "in");
        const std::partial_ordering order = compare(rt_, a, b, op);
        return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }

    value conditional(const node& n, const scope_ref& s) {
        if (truth(evaluate(*n.a[0], s))) return evaluate(*n.a[1], s);
        return n.a[2] != nullptr ? evaluate(*n.a[2], s) : rt_.undefined("the inline if-expression evaluated to false and has no else");
    }

    runtime& rt_;
    const tree& tree_;
    variables given_;
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
