// SPDX-License-Identifier: MIT
#pragma once
// Tokens to a tree, by jinja2's grammar: statements here, expressions in expression_parser.hpp.
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/jinja/ast.hpp>
#include <skald/text/jinja/expression_parser.hpp>
#include <skald/text/jinja/lexer.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

class parser : expression_parser {
public:
    parser(std::string_view source, std::string_view name) : expression_parser(tokenize_template(source, name), name) {}

    tree run() {
        tree_.body = statements({});
        if (!current().is(token_type::end, "")) error("unexpected end tag");
        return std::move(tree_);
    }

private:
    using words = std::vector<std::string_view>;

    /// Statements up to a tag that starts with one of the words, which stays the current token; or up to the end.
    nodes statements(const words& ends) {
        const nesting inner(*this);
        nodes out;
        while (current().type != token_type::end) {
            if (current().type == token_type::data) {
                node& n = make(node_kind::data);
                n.text = take().text;
                out.push_back(&n);
            } else if (current().type == token_type::variable_begin) {
                take();
                out.push_back(&make(node_kind::output, {tuple_or_expression()}));
                expect(token_type::variable_end);
            } else {
                take();
                for (const std::string_view word : ends)
                    if (current().word(word)) return out;
                statement(out);
                expect(token_type::block_end);
            }
        }
        if (!ends.empty()) error("the template ends, but {% ", ends.back(), " %} is missing");
        return out;
    }

    /// The statements behind a tag, up to the end tag, which is consumed up to its block end.
    nodes body(std::string_view end_word) {
        nodes out = open_body({end_word});
        take();
        return out;
    }

    nodes open_body(const words& ends) {
        if (current().symbol(":")) take();
        expect(token_type::block_end);
        return statements(ends);
    }

    void statement(nodes& out) {
        if (current().type != token_type::name) error("a tag needs a name");
        const token tag = take();
        const std::string& t = tag.text;
        if (t == "for")
            out.push_back(&for_loop());
        else if (t == "if")
            out.push_back(&branch());
        else if (t == "set")
            out.push_back(&set());
        else if (t == "print")
            print(out);
        else if (t == "macro")
            out.push_back(&macro());
        else if (t == "call")
            out.push_back(&call_block());
        else if (t == "filter")
            out.push_back(&filter_block());
        else if (t == "with")
            out.push_back(&with());
        else if (t == "generation")
            out.push_back(&scope("endgeneration"));
        else if (t == "block")
            out.push_back(&block());
        else if (t == "break" || t == "continue")
            out.push_back(&jump(t == "break"));
        else if (t == "include" || t == "import" || t == "from" || t == "extends" || t == "autoescape")
            fail(errc::unsupported, place(tag.line), "{% ", t, " %} is not supported in chat templates");
        else
            error("unknown tag ", io::detail::in_quotes(t));
    }

    node& for_loop() {
        node* target = assign_target("in");
        expect_word("in");
        node* iterable = tuple_or_expression(false, "recursive");
        node* condition = take_word("if") ? expression() : nullptr;
        const bool recursive = take_word("recursive");
        node& n = make(node_kind::loop, {target, iterable, condition});
        n.recursive = recursive;
        ++loops_;
        n.body = open_body({"else", "endfor"});
        --loops_;
        n.bodies.emplace_back();
        if (take().text == "else") n.bodies.back() = body("endfor");
        return finished(n);
    }

    node& branch() {
        node& n = make(node_kind::branch);
        while (true) {
            n.a.push_back(tuple_or_expression(false));
            n.bodies.push_back(open_body({"elif", "else", "endif"}));
            const std::string word = take().text;
            if (word == "elif") continue;
            n.bodies.push_back(word == "else" ? body("endif") : nodes());
            return finished(n);
        }
    }

    node& set() {
        node* target = assign_target({}, true);
        if (take_symbol("=")) return make(node_kind::assign, {target, tuple_or_expression()});
        node& n = make(node_kind::block_set, {target, current().symbol("|") ? filters(nullptr) : nullptr});
        n.body = body("endset");
        return finished(n);
    }

    void print(nodes& out) {
        for (bool first = true; current().type != token_type::block_end; first = false) {
            if (!first) expect_symbol(",");
            out.push_back(&make(node_kind::output, {expression()}));
        }
    }

    node& macro() {
        node& n = make(node_kind::macro);
        n.name = expect(token_type::name).text;
        signature(n);
        macro_body(n, "endmacro");
        return finished(n);
    }

    void macro_body(node& n, std::string_view end_word) {
        const int outer = std::exchange(loops_, 0);
        n.body = body(end_word);
        loops_ = outer;
    }

    void signature(node& n) {
        expect_symbol("(");
        while (!current().symbol(")")) {
            if (!n.names.empty()) expect_symbol(",");
            n.names.push_back(expect(token_type::name).text);
            if (take_symbol("="))
                n.b.push_back(expression());
            else if (!n.b.empty())
                error("a parameter without default follows one with default");
        }
        expect_symbol(")");
    }

    node& call_block() {
        node& n = make(node_kind::call_block);
        n.name = "caller";
        if (current().symbol("(")) signature(n);
        n.a.push_back(expression());
        if (n.a[0]->kind != node_kind::call) error("{% call %} needs a call");
        macro_body(n, "endcall");
        return finished(n);
    }

    node& filter_block() {
        node& n = make(node_kind::filter_block, {filters(nullptr, true)});
        n.body = body("endfilter");
        return finished(n);
    }

    node& with() {
        node& n = make(node_kind::with);
        while (current().type != token_type::block_end) {
            if (!n.a.empty()) expect_symbol(",");
            n.a.push_back(assign_target({}));
            expect_symbol("=");
            n.b.push_back(expression());
        }
        n.body = body("endwith");
        return finished(n);
    }

    node& scope(std::string_view end_word) {
        node& n = make(node_kind::scope);
        macro_body(n, end_word);
        return finished(n);
    }

    node& block() {
        const std::string name = expect(token_type::name).text;
        take_word("scoped");
        take_word("required");
        node& n = scope("endblock");
        take_word(name);
        return n;
    }

    node& jump(bool out_of) {
        if (loops_ == 0) error("break and continue belong into a loop");
        return make(out_of ? node_kind::break_loop : node_kind::continue_loop);
    }

    int loops_ = 0;  // that a break could leave here
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
