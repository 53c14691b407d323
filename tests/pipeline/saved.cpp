// SPDX-License-Identifier: MIT
// A conversation that was saved and restored goes on as if it had never stopped.
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/state_file.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>

#include "io/temporary_folder.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using test::code_of;

namespace {

const std::string folder = std::string(SKALD_TEST_DATA) + "/";

model<cpu<>> tiny(compute policy = compute::exact) { return load_model<cpu<>>(folder + "tiny-llama.gguf", {.compute = policy}); }

/// What must agree bit by bit: tokens, their log-probabilities and those of alternatives.
void require_same(const completion& a, const completion& b) {
    REQUIRE(a.tokens.size() == b.tokens.size());
    for (std::size_t i = 0; i < a.tokens.size(); ++i) {
        REQUIRE(a.tokens[i].token == b.tokens[i].token);
        REQUIRE(a.tokens[i].logprob == b.tokens[i].logprob);
        REQUIRE(a.tokens[i].top.size() == b.tokens[i].top.size());
        for (std::size_t k = 0; k < a.tokens[i].top.size(); ++k) {
            REQUIRE(a.tokens[i].top[k].token == b.tokens[i].top[k].token);
            REQUIRE(a.tokens[i].top[k].logprob == b.tokens[i].top[k].logprob);
        }
    }
    CHECK(a.text == b.text);
}

const generate_options request{.max_tokens = 12, .top_logprobs = 20, .ignore_end = true};

}  // namespace

TEST_CASE("a saved conversation goes on bitwise as an unbroken one, in other storage too", "[pipeline]") {
    for (const compute policy : {compute::exact, compute::native}) {
        const test::temporary_folder files;
        const std::filesystem::path path = files.path() / "talk.kv";
        const std::string first = "one two three four five six seven eight nine ten, and then some more words after these";
        const model<cpu<>> m = tiny(policy);
        pipeline unbroken{m, kv::paged<kv::f16>{{.tokens = 1024}}};
        (void)unbroken.run(unbroken.chat(first, request));
        unbroken.save(path);
        const completion expected = unbroken.run(unbroken.chat("eleven", request));

        const auto goes_on = [&](auto restored) {
            restored.load(path);
            REQUIRE(restored.conversation().size() == 2);
            CHECK(restored.conversation()[0].content == first);
            const completion answer = restored.run(restored.chat("eleven", request));
            require_same(answer, expected);
            CHECK(answer.stats.reused_tokens == expected.stats.reused_tokens);
            CHECK(answer.stats.reused_tokens > 20);
            CHECK(restored.conversation().size() == 4);
        };
        goes_on(pipeline{tiny(policy), kv::paged<kv::f16>{{.tokens = 1024}}});
        goes_on(pipeline{tiny(policy), kv::paged<kv::f16>{{.tokens = 600, .block = 7}}});
        goes_on(pipeline{tiny(policy), kv::contiguous<kv::f16>{{.tokens = 900}}});
        goes_on(pipeline{tiny(policy), kv::any<cpu<>>{kv::parse_spec("paged/3:f16"), {.tokens = 800}}});
        pipeline busy{m, kv::paged<kv::f16>{{.tokens = 1024}}};
        (void)busy.run(busy.chat("something else before", request));
        goes_on(std::move(busy));
    }
}

TEST_CASE("an encoded conversation goes on nearly as an unbroken one, its keys coded before rope", "[pipeline]") {
    const test::temporary_folder files;
    const std::filesystem::path path = files.path() / "talk.kv";
    pipeline unbroken{tiny(), kv::paged<kv::f16>{{.tokens = 1024}}};
    (void)unbroken.run(unbroken.chat("one two three four five six seven eight nine ten, and then some more words after these", request));
    unbroken.save_encoded(path, 5);
    CHECK(kv::check_encoded(path).header.before_rope);
    const completion expected = unbroken.run(unbroken.chat("eleven", request));
    pipeline restored{tiny(), kv::paged<kv::f16>{{.tokens = 600, .block = 7}}};
    restored.load(path);
    CHECK(restored.conversation().size() == 2);
    const completion answer = restored.run(restored.chat("eleven", request));
    CHECK(answer.stats.reused_tokens == expected.stats.reused_tokens);
    CHECK(answer.tokens[0].token == expected.tokens[0].token);
    CHECK(answer.tokens[0].logprob == Approx(expected.tokens[0].logprob).margin(0.02));
}

TEST_CASE("a file that is refused leaves pipeline and cache as they were", "[pipeline]") {
    const test::temporary_folder files;
    const std::filesystem::path path = files.path() / "talk.kv";
    const model<cpu<>> m = tiny();
    pipeline saver{m, kv::paged<kv::f16>{{.tokens = 512}}};
    (void)saver.run(saver.chat("a message to be saved", request));
    saver.save(path);

    pipeline p{m, kv::paged<kv::f16>{{.tokens = 512}}};
    const completion before = p.run(p.chat("what stays", request));
    const auto refused = [&](const std::filesystem::path& file) { return code_of([&] { p.load(file); }); };
    CHECK(refused(files.path() / "absent") == errc::io);
    std::string bytes;
    {
        std::ifstream in(path, std::ios::binary);
        bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    const auto write = [&](const std::string& text) { return files.write("other.kv", std::as_bytes(std::span(text.data(), text.size()))); };
    std::string damaged = bytes;
    damaged[bytes.size() / 2] ^= 4;
    CHECK(refused(write(damaged)) == errc::bad_file);
    CHECK(refused(write(bytes.substr(0, bytes.size() - 1))) == errc::bad_file);
    CHECK(refused(write(bytes + "x")) == errc::bad_file);
    CHECK(refused(write("")) == errc::bad_file);
    CHECK(refused(folder + "tiny-llama.gguf") == errc::bad_file);

    // Of the model, but no conversation, or tokens that it does not have.
    const auto made = [&](const std::vector<token_id>& tokens, std::string_view note) {
        auto cache = kv::paged<kv::f16>{{.tokens = 512}}.make(m.config().cache(), std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        const std::array rows{kv::segment{s, 0, tokens.size()}};
        cache.plan(rows);
        cache.commit(s);
        kv::save(cache, s, tokens, files.path() / "made.kv", {.model = rows_identity(m.identity(), m.config(), 512)}, note);
        return files.path() / "made.kv";
    };
    CHECK(refused(made({1, 2}, "abc")) == errc::bad_file);
    CHECK(refused(made({1, 2}, std::string_view("\xff\0\0\0user", 8))) == errc::bad_file);
    CHECK(refused(made({1, static_cast<token_id>(m.config().vocabulary)}, "")) == errc::bad_file);

    pipeline other_codec{m, kv::paged<kv::f32>{{.tokens = 512}}};
    pipeline small{m, kv::paged<kv::f16>{{.tokens = 8}}};
    CHECK(code_of([&] { other_codec.load(path); }) == errc::invalid_argument);
    CHECK(code_of([&] { small.load(path); }) == errc::cache_full);
    CHECK(small.conversation().empty());
    pipeline at_run_time{m, kv::any<cpu<>>{kv::parse_spec("paged:bf16"), {.tokens = 512}}};
    CHECK(code_of([&] { at_run_time.load(path); }) == errc::invalid_argument);
    {
        auto g = p.chat("unheard", request);
        CHECK(refused(path) == errc::busy);
        CHECK(code_of([&] { p.save(files.path() / "busy.kv"); }) == errc::busy);
    }
    CHECK_FALSE(std::filesystem::exists(files.path() / "busy.kv"));

    REQUIRE(p.conversation().size() == 2);
    CHECK(p.conversation()[0].content == "what stays");
    const completion after = p.run(p.chat("next", request));
    CHECK(after.stats.reused_tokens >= before.stats.prompt_tokens - 1);  // nothing was forgotten
}

TEST_CASE("a model's identity is its weights and hyperparameters, not where it lies or how it computes", "[pipeline]") {
    const auto identity = [](test::tiny_model recipe, const load_options& options = {}) {
        return load_model<cpu<>>(test::open_model(recipe).file(), options).identity();
    };
    const test::tiny_model plain;
    const std::uint64_t expected = identity(plain);
    CHECK(identity(plain) == expected);
    CHECK(identity(plain, {.compute = compute::exact, .copy = true}) == expected);
    test::tiny_model other = plain;
    other.seed = 2;
    CHECK(identity(other) != expected);
    other = plain;
    other.type = dtype::f16;
    CHECK(identity(other) != expected);
    for (const std::string_view key : {"llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"}) {
        other = plain;
        other.replace = [&](test::gguf_writer& w, std::string_view name) {
            if (name == key) w.key(std::string(key), key.ends_with("base") ? 20000.0f : 1e-6f);
            return name == key;
        };
        CHECK(identity(other) != expected);
    }
    // A fine-tune of one norm or one matrix is another model.
    for (const std::string_view tensor : {"blk.1.attn_norm.weight", "blk.1.attn_k.weight"}) {
        other = plain;
        other.replace = [&](test::gguf_writer& w, std::string_view name) {
            if (name != tensor) return false;
            const bool norm = tensor.find("norm") != std::string_view::npos;
            const std::vector<std::uint64_t> shape = norm ? std::vector<std::uint64_t>{64} : std::vector<std::uint64_t>{64, 32};
            w.tensor(std::string(tensor), dtype::f32, shape, std::vector<float>(norm ? 64 : 64 * 32, 0.5f));
            return true;
        };
        CHECK(identity(other) != expected);
    }
    // Copies of a file elsewhere are the same model.
    const test::temporary_folder files;
    std::filesystem::copy_file(folder + "tiny-llama.gguf", files.path() / "copy.gguf");
    CHECK(load_model<cpu<>>(files.path() / "copy.gguf").identity() == tiny().identity());
    CHECK(load_model<cpu<>>(files.path() / "copy.gguf", {.packing = packing::none}).identity() == tiny().identity());
}

TEST_CASE("rows of one longrope list are not taken for those of the other", "[pipeline]") {
    model_config config;
    CHECK(rows_identity(5, config, 100) == rows_identity(5, config, 1000));
    config.attention_kinds[0].rope = {.dims = 4, .scaling = rope_scaling::longrope, .original_context = 512};
    CHECK(rows_identity(5, config, 100) == rows_identity(5, config, 512));
    CHECK(rows_identity(5, config, 100) != rows_identity(5, config, 513));
}
