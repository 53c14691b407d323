// SPDX-License-Identifier: MIT
#pragma once
// Expressions of templates, with jinja2's precedence.
#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/jinja/ast.hpp>
#include <skald/text/jinja/lexer.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

class expression_parser {
public:
    static constexpr int most_levels = 100;  ///< of nested brackets, operands and statements
    static constexpr int most_height = 200;  ///< of the tree: a + b + c + … grows by one with each operand

protected:
    expression_parser(std::vector<token> tokens, std::string_view name) : name_(name), tokens_(std::move(tokens)) {}

    /// One level of nesting, for as long as it lives.
    class nesting {
    public:
        explicit nesting(expression_parser& p) : levels_(p.levels_) {
            if (++levels_ > most_levels) p.error("is nested deeper than ", most_levels, " levels");
        }
        ~nesting() { --levels_; }
        nesting(const nesting&) = delete;
        nesting& operator=(const nesting&) = delete;

    private:
        int& levels_;
    };

    std::string place(int line) const { return concat(name_, ", line ", line); }

    template <class... Parts>
    [[noreturn]] void error(const Parts&... parts) const {
        fail(errc::bad_file, place(current().line), parts...);
    }

    const token& current() const noexcept { return tokens_[at_]; }
    const token& next() const noexcept { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    const token& take() noexcept { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }

    bool take_symbol(std::string_view s) {
        if (!current().symbol(s)) return false;
        take();
        return true;
    }
    bool take_word(std::string_view s) {
        if (!current().word(s)) return false;
        take();
        return true;
    }
    const token& expect(token_type type) {
        if (current().type != type) unexpected(type == token_type::name ? "a name" : "the end of the tag");
        return take();
    }
    void expect_symbol(std::string_view s) {
        if (!take_symbol(s)) unexpected(concat("'", s, "'"));
    }
    void expect_word(std::string_view s) {
        if (!take_word(s)) unexpected(concat("'", s, "'"));
    }

    [[noreturn]] void unexpected(std::string_view wanted) const {
        switch (current().type) {
            case token_type::end: error("the template ends where ", wanted, " should be");
            case token_type::variable_end:
            case token_type::block_end: error("the tag ends where ", wanted, " should be");
            case token_type::integer: error("a number stands where ", wanted, " should be");
            case token_type::real: error("a number stands where ", wanted, " should be");
            default: error(io::detail::in_quotes(current().text), " stands where ", wanted, " should be");
        }
    }

    node& make(node_kind kind, nodes a = {}) {
        node& n = tree_.all.emplace_back();
        n.kind = kind;
        n.line = at_ == 0 ? 1 : tokens_[at_ - 1].line;
        n.a = std::move(a);
        return finished(n);
    }

    /// Knows its height, now that it has all its children.
    node& finished(node& n) {
        int highest = 0;
        const auto measure = [&](const nodes& list) {
            for (node* child : list)
                if (child != nullptr) highest = std::max(highest, child->height);
        };
        for (const nodes* list : {&n.a, &n.b, &n.c, &n.body}) measure(*list);
        for (const nodes& list : n.bodies) measure(list);
        n.height = highest + 1;
        if (n.height > most_height) error("is nested deeper than ", most_height, " operations");
        return n;
    }

    /// An expression, or several between commas, which are a tuple. `end_word` ends it too.
    node* tuple_or_expression(bool conditional = true, std::string_view end_word = {}, bool parentheses = false) {
        return between_commas([&] { return expression(conditional); }, end_word, parentheses);
    }

    /// What can stand left of = or before `in`: a name, names between commas or, in `set`, a namespace's attribute.
    node* assign_target(std::string_view end_word, bool fields = false) {
        node* target = between_commas([&] { return target_part(fields); }, end_word, false);
        return target;
    }

    node* expression(bool conditional = true) {
        const nesting inner(*this);
        node* left = logical_or();
        while (conditional && take_word("if")) {
            node* condition = logical_or();
            left = &make(node_kind::conditional, {condition, left, take_word("else") ? expression() : nullptr});
        }
        return left;
    }

    /// | name(arguments) | …; with `inline_first` the first name stands without |.
    node* filters(node* subject, bool inline_first = false) {
        while (inline_first || take_symbol("|")) {
            inline_first = false;
            node& n = make(node_kind::filter, {subject});
            n.name = dotted_name();
            if (current().symbol("(")) arguments(n);
            subject = &finished(n);
        }
        return subject;
    }

    tree tree_;

private:
    template <class Part>
    node* between_commas(Part part, std::string_view end_word, bool parentheses) {
        nodes items;
        bool is_tuple = false;
        while (!at_tuple_end(end_word)) {
            items.push_back(part());
            if (!take_symbol(",")) break;
            is_tuple = true;
        }
        if (!is_tuple && items.size() == 1) return items[0];
        if (!is_tuple && !parentheses) unexpected("an expression");
        return &make(node_kind::tuple, std::move(items));
    }

    bool at_tuple_end(std::string_view end_word) const {
        const token& t = current();
        return t.type == token_type::variable_end || t.type == token_type::block_end || t.symbol(")") ||
               (!end_word.empty() && t.word(end_word));
    }

    node* target_part(bool fields) {
        if (take_symbol("(")) {
            const nesting inner(*this);
            node* part = between_commas([&] { return target_part(fields); }, {}, true);
            expect_symbol(")");
            return part;
        }
        const token t = expect(token_type::name);
        constexpr std::array<std::string_view, 6> reserved{"true", "false", "none", "True", "False", "None"};
        if (std::find(reserved.begin(), reserved.end(), t.text) != reserved.end()) error("cannot assign to ", t.text);
        const bool is_field = fields && take_symbol(".");
        node& n = make(is_field ? node_kind::field : node_kind::name);
        n.name = t.text;
        if (is_field) n.text = expect(token_type::name).text;
        return &n;
    }

    node* logical_or() {
        node* left = logical_and();
        while (take_word("or")) left = &make(node_kind::logical_or, {left, logical_and()});
        return left;
    }

    node* logical_and() {
        node* left = logical_not();
        while (take_word("and")) left = &make(node_kind::logical_and, {left, logical_not()});
        return left;
    }

    node* logical_not() {
        if (!take_word("not")) return comparison();
        const nesting inner(*this);
        return &make(node_kind::logical_not, {logical_not()});
    }

    /// The comparison that the tokens here start, which are consumed; empty if there is none.
    std::string comparator() {
        for (const std::string_view s : {"==", "!=", "<=", ">=", "<", ">"})
            if (take_symbol(s)) return std::string(s);
        if (take_word("in")) return "in";
        if (!current().word("not") || !next().word("in")) return {};
        take();
        take();
        return "not in";
    }

    node* comparison() {
        nodes operands{sum()};
        std::vector<std::string> operators;
        while (true) {
            std::string op = comparator();
            if (op.empty()) break;
            operators.push_back(std::move(op));
            operands.push_back(sum());
        }
        if (operators.empty()) return operands[0];
        node& n = make(node_kind::compare, std::move(operands));
        n.names = std::move(operators);
        return &n;
    }

    /// Operands of `part` with the operators between them, from the left.
    template <class Part>
    node* chain(std::initializer_list<std::string_view> operators, Part part) {
        node* left = part();
        while (true) {
            const auto* op = std::find_if(operators.begin(), operators.end(), [&](std::string_view s) { return current().symbol(s); });
            if (op == operators.end()) return left;
            take();
            node& n = make(node_kind::binary, {left, part()});
            n.name = *op;
            left = &n;
        }
    }

    node* sum() {
        return chain({"+", "-"}, [&] { return concatenation(); });
    }

    node* concatenation() {
        nodes parts{product()};
        while (take_symbol("~")) parts.push_back(product());
        return parts.size() == 1 ? parts[0] : &make(node_kind::concat, std::move(parts));
    }

    node* product() {
        return chain({"*", "/", "//", "%"}, [&] { return chain({"**"}, [&] { return unary(true); }); });
    }

    node* unary(bool with_filters) {
        node* out = nullptr;
        if (current().symbol("-") || current().symbol("+")) {
            const nesting inner(*this);
            const node_kind kind = take().text == "-" ? node_kind::negate : node_kind::plus;
            out = &make(kind, {unary(false)});
        } else {
            out = primary();
        }
        out = postfix(out);
        return with_filters ? filters_and_tests(out) : out;
    }

    node* primary() {
        const token t = current();
        switch (t.type) {
            case token_type::name: {
                take();
                if (t.text == "true" || t.text == "True" || t.text == "false" || t.text == "False")
                    return constant_node((t.text[0] | 0x20) == 't');
                if (t.text == "none" || t.text == "None") return constant_node(std::monostate());
                node& n = make(node_kind::name);
                n.name = t.text;
                return &n;
            }
            case token_type::string: {
                std::string text;
                while (current().type == token_type::string) text += take().text;
                return constant_node(std::move(text));
            }
            case token_type::integer: take(); return constant_node(t.integer);
            case token_type::real: take(); return constant_node(t.real);
            default: break;
        }
        const nesting inner(*this);
        if (take_symbol("(")) {
            node* out = tuple_or_expression(true, {}, true);
            expect_symbol(")");
            return out;
        }
        if (take_symbol("[")) return list();
        if (take_symbol("{")) return dict();
        unexpected("an expression");
    }

    node* constant_node(constant value) {
        node& n = make(node_kind::constant);
        n.value = std::move(value);
        return &n;
    }

    node* list() {
        nodes items;
        while (!current().symbol("]")) {
            if (!items.empty()) expect_symbol(",");
            if (current().symbol("]")) break;
            items.push_back(expression());
        }
        expect_symbol("]");
        return &make(node_kind::list, std::move(items));
    }

    node* dict() {
        node& n = make(node_kind::dict);
        while (!current().symbol("}")) {
            if (!n.a.empty()) expect_symbol(",");
            if (current().symbol("}")) break;
            n.a.push_back(expression());
            expect_symbol(":");
            n.b.push_back(expression());
        }
        expect_symbol("}");
        return &finished(n);
    }

    node* postfix(node* n) {
        while (true) {
            if (take_symbol("."))
                n = member(n);
            else if (take_symbol("["))
                n = subscript(n);
            else if (current().symbol("("))
                n = call(n);
            else
                return n;
        }
    }

    node* filters_and_tests(node* n) {
        while (true) {
            if (current().symbol("|"))
                n = filters(n);
            else if (take_word("is"))
                n = test(n);
            else if (current().symbol("("))
                n = call(n);
            else
                return n;
        }
    }

    node* member(node* of) {
        if (current().type == token_type::integer) {
            node* index = constant_node(take().integer);
            return &make(node_kind::item, {of, index});
        }
        node& n = make(node_kind::member, {of});
        n.name = expect(token_type::name).text;
        return &n;
    }

    node* subscript(node* of) {
        nodes keys;
        while (!current().symbol("]")) {
            if (!keys.empty()) expect_symbol(",");
            keys.push_back(key());
        }
        expect_symbol("]");
        node* one = keys.size() == 1 ? keys[0] : &make(node_kind::tuple, std::move(keys));
        return &make(node_kind::item, {of, one});
    }

    /// What stands in brackets behind a value: an expression, or a slice.
    node* key() {
        const auto at_end = [&] { return current().symbol("]") || current().symbol(",") || current().symbol(":"); };
        node* first = current().symbol(":") ? nullptr : expression();
        if (!take_symbol(":")) return first;
        node* last = at_end() ? nullptr : expression();
        node* step = take_symbol(":") && !at_end() ? expression() : nullptr;
        return &make(node_kind::slice, {first, last, step});
    }

    node* call(node* callee) {
        node& n = make(node_kind::call, {callee});
        arguments(n);
        return &finished(n);
    }

    /// (arguments) of a call, filter or test.
    void arguments(node& n) {
        expect_symbol("(");
        n.c = {nullptr, nullptr};
        for (bool first = true; !current().symbol(")"); first = false) {
            if (!first) expect_symbol(",");
            if (current().symbol(")")) break;
            argument(n);
        }
        expect_symbol(")");
    }

    void argument(node& n) {
        const auto ensure = [&](bool allowed) {
            if (!allowed) error("arguments stand in a wrong order");
        };
        if (take_symbol("*")) {
            ensure(n.c[0] == nullptr && n.c[1] == nullptr);
            n.c[0] = expression();
        } else if (take_symbol("**")) {
            ensure(n.c[1] == nullptr);
            n.c[1] = expression();
        } else if (current().type == token_type::name && next().symbol("=")) {
            ensure(n.c[1] == nullptr);
            std::string name = take().text;
            take();
            if (std::find(n.names.begin(), n.names.end(), name) != n.names.end())
                error("the argument ", io::detail::in_quotes(name), " is given twice");
            n.names.push_back(std::move(name));
            n.b.push_back(expression());
        } else {
            ensure(n.c[0] == nullptr && n.c[1] == nullptr && n.names.empty());
            n.a.push_back(expression());
        }
    }

    std::string dotted_name() {
        std::string out = expect(token_type::name).text;
        while (take_symbol(".")) (out += '.') += expect(token_type::name).text;
        return out;
    }

    node* test(node* subject) {
        const bool negated = take_word("not");
        node& n = make(node_kind::test, {subject});
        n.name = dotted_name();
        const token& t = current();
        const bool operand = t.type == token_type::name || t.type == token_type::string || t.type == token_type::integer ||
                             t.type == token_type::real || t.symbol("[") || t.symbol("{");
        if (t.symbol("(")) {
            arguments(n);
        } else if (operand && !t.word("else") && !t.word("or") && !t.word("and")) {
            if (t.word("is")) error("tests cannot be chained with 'is'");
            n.a.push_back(postfix(primary()));
        }
        finished(n);
        return negated ? &make(node_kind::logical_not, {&n}) : &n;
    }

    std::string_view name_;
    std::vector<token> tokens_;
    std::size_t at_ = 0;
    int levels_ = 0;
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
