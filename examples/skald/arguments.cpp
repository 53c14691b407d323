// SPDX-License-Identifier: MIT
// The command line, declared: every command with its options and their help.
#include "arguments.hpp"

#include <charconv>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/kv/spec.hpp>
#include <skald/version.hpp>

#include "terminal.hpp"

namespace cli {

CLI::Validator real(double least, double most) {
    return CLI::Validator(
        [=](const std::string& text) -> std::string {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            if (end != text.c_str() && *end == '\0' && value >= least && value <= most) return {};
            return skald::concat("'", text, "' is no number from ", least, " to ", most);
        },
        skald::concat("NUMBER ", least, "…", most));
}

CLI::Validator whole(std::int64_t least, std::int64_t most) {
    return CLI::Validator(
        [=](const std::string& text) -> std::string {
            std::int64_t value = 0;
            const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (status == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return {};
            return skald::concat("'", text, "' is no whole number from ", least, " to ", most);
        },
        "N");
}

namespace {

void add_path(CLI::App* app, std::string& path) {
    app->add_option("MODEL", path, "a GGUF file or a Hugging Face folder")->required()->type_name("FILE");
}

void add_compute(CLI::App* app, model_options& model) {
    app->add_option_function<std::string>(
           "--compute",
           [&model](const std::string& word) {
               if (word != "exact" && word != "native")
                   throw CLI::ValidationError("--compute", "'" + word + "' is neither exact nor native");
               model.compute = word == "exact" ? skald::compute::exact : skald::compute::native;
           },
           "exact: all in 32-bit floats; native: what the weights' format is fastest with (default)")
        ->type_name("exact|native");
}

void add_packed_file(CLI::App* app, model_options& model) {
    app->add_option("--packed-file", model.packed_file, "keeps the rearranged weights in that file, and maps it the next time")
        ->type_name("FILE");
}

void add_model(CLI::App* app, model_options& model) {
    add_path(app, model.path);
    add_compute(app, model);
    app->add_option_function<std::string>(
           "--packing",
           [&model](const std::string& word) {
               if (word != "panels" && word != "none") throw CLI::ValidationError("--packing", "'" + word + "' is neither panels nor none");
               model.packing = word == "none" ? skald::packing::none : skald::packing::panels;
           },
           "panels: weights rearranged for speed (default); none: read where the file is mapped, shared between processes")
        ->type_name("panels|none");
    add_packed_file(app, model);
    app->add_option("-t,--threads", model.threads, "threads (default: all that this process may use)")->check(whole(1, 1024));
}

skald::kv::spec read_kv(const std::string& text) {
    try {
        return skald::kv::parse_spec(text);
    } catch (const skald::error& e) {
        throw CLI::ValidationError("--kv", std::string(std::string_view(e.what()).substr(e.place().size() + 2)));
    }
}

void add_kv(CLI::App* app, skald::kv::spec& spec, std::string_view normal) {
    app->add_option_function<std::string>(
           "--kv", [&spec](const std::string& text) { spec = read_kv(text); },
           skald::concat("the cache: ", skald::kv::known_specs, " (default ", normal, ")"))
        ->type_name("SPEC");
}

void add_kv_budget(CLI::App* app, std::size_t& bytes) {
    app->add_option("--kv-budget", bytes, "bytes that the cache may take, as 64M: it then holds as many tokens of the context as fit")
        ->transform(CLI::AsSizeValue(false))
        ->check(whole(1, std::numeric_limits<std::int64_t>::max()))
        ->type_name("BYTES");
}

void add_cache(CLI::App* app, kv_options& c) {
    add_kv(app, c.kv, "paged:f16");
    add_kv_budget(app, c.kv_budget);
    CLI::Option* disk =
        app->add_option("--kv-disk", c.kv_disk, "a folder on a disk, where the older tokens of tiers are kept, as those of paged:kivi4")
            ->check(CLI::ExistingDirectory)
            ->type_name("FOLDER");
    app->add_option("--kv-resident", c.kv_resident,
                    "bytes of these that may be in memory, as 64M; room for a layer at least, better for two")
        ->transform(CLI::AsSizeValue(false))
        ->check(whole(1, std::numeric_limits<std::int64_t>::max()))
        ->needs(disk)
        ->type_name("BYTES");
}

void add_json(CLI::App* app, bool& json) { app->add_flag("--json", json, "print JSON"); }

void add_generation(CLI::App* app, generate_command& c) {
    add_model(app, c.model);
    add_cache(app, c);
    app->add_option("-n,--max-tokens", c.max_tokens,
                    "tokens to generate at most (default: until the model ends, or the context is full; with "
                    "keys before rope, as paged:unroped-f16, the oldest half then goes and the text goes on)")
        ->check(whole(1));
    app->add_option("--ctx", c.context, "tokens of context (default: the model's, at most 4096)")->check(whole(1));
    add_sampling(app, c.sampling);
    add_grammar(app, c.sampling);
    app->add_option("--stop", c.stop, "a text that ends the answer (may be given several times)")
        ->allow_extra_args(false)
        ->type_name("TEXT");
    app->add_option("--system", c.system, "the system message")->type_name("TEXT");
    app->add_flag("-q,--quiet", c.quiet, "no statistics");
}

void add_quantize(CLI::App* app, quantize_command& c) {
    app->add_option("IN", c.in, "a GGUF file or a Hugging Face folder, in any format; best F32, BF16 or F16")
        ->required()
        ->type_name("FILE");
    app->add_option("OUT", c.out, "the GGUF file to write")->required()->type_name("FILE");
    app->add_option("--type", c.type, "the format or mixture, as Q8_0 or Q4_K_M")->required()->type_name("TYPE");
    app->add_option("--imatrix", c.importance, "an importance matrix, as 'skald imatrix' or llama.cpp's tool writes it")->type_name("FILE");
    app->add_option("--tensor-type", c.tensor_types, "another format for tensors whose name matches (may be given several times)")
        ->allow_extra_args(false)
        ->type_name("REGEX=TYPE");
    app->add_option("-t,--threads", c.threads, "threads (default: all that this process may use)")->check(whole(1, 1024));
    app->add_option_function<std::int64_t>(
           "--split", [&c](std::int64_t megabytes) { c.max_file_bytes = static_cast<std::uint64_t>(megabytes) * 1'000'000; },
           "split over files of at most that many megabytes of tensors")
        ->check(whole(1))
        ->type_name("MB");
    app->add_flag("-q,--quiet", c.quiet, "no table at the end");
}

}  // namespace

int run_command_line(int argc, char** argv) {
    CLI::App app("skald runs language models. 'skald COMMAND --help' explains a command.", "skald");
    app.set_version_flag("--version", skald::concat(SKALD_VERSION_MAJOR, ".", SKALD_VERSION_MINOR, ".", SKALD_VERSION_PATCH));
    app.require_subcommand(1);
    std::function<void()> action;
    const auto command_of = [&](CLI::App& parent, const char* name, const char* help, auto& options, auto function) {
        CLI::App* sub = parent.add_subcommand(name, help);
        sub->callback([&action, &options, function] { action = [&options, function] { function(options); }; });
        return sub;
    };
    const auto command = [&](const char* name, const char* help, auto& options, auto function) {
        return command_of(app, name, help, options, function);
    };

    generate_command run_options, chat_options;
    inspect_command inspect_options, cache_options;
    save_cache_command save_options;
    load_cache_command load_options;
    plan_command plan_options;
    kv_list_command kv_list_options;
    tokens_command tokenize_options, detokenize_options;
    logits_command logits_options;
    tensor_command tensor_options;
    perplexity_command perplexity_options;
    embed_command embed_options;
    score_command score_options;
    template_command template_options;
    bench_command bench_options;
    quantize_command quantize_options;
    imatrix_command imatrix_options;

    CLI::App* sub = command("run", "Answers one message, or continues a text", run_options, run);
    add_generation(sub, run_options);
    CLI::Option* text = sub->add_option("-p,--prompt", run_options.prompt, "the message; '-' reads standard input")->type_name("TEXT");
    CLI::Option* file = sub->add_option("-f,--file", run_options.prompt_file, "reads the message from a file")->type_name("FILE");
    text->excludes(file);
    sub->add_flag("--raw", run_options.raw, "continue the text as it is, without the model's chat format");
    add_search(sub, run_options.search);
    sub->add_flag("--ignore-end", run_options.ignore_end, "go on past the model's end of text");

    add_generation(command("chat", "Talks with you: one message a line; /reset forgets, /exit ends", chat_options, chat), chat_options);

    sub = command("inspect", "Shows what a model file or folder holds", inspect_options, inspect);
    add_path(sub, inspect_options.path);
    add_json(sub, inspect_options.json);

    CLI::App* cache = app.add_subcommand("cache", "Files of saved sequences: their tokens, keys and values");
    cache->require_subcommand(1);
    sub = command_of(*cache, "inspect", "Shows what such a file holds, and compares its checksums", cache_options, inspect_cache);
    sub->add_option("FILE", cache_options.path, "a file that 'cache save', pipeline::save or kv::save wrote")
        ->required()
        ->type_name("FILE");
    add_json(sub, cache_options.json);
    sub = command_of(*cache, "save", "Reads a text and keeps what the model made of it in a file", save_options, save_cache);
    add_model(sub, save_options.model);
    add_cache(sub, save_options);
    sub->add_option("--ctx", save_options.context, "tokens of context (default: the model's, at most 4096)")->check(whole(1));
    CLI::Option* kept = sub->add_option("-p,--prompt", save_options.prompt, "the text; '-' reads standard input")->type_name("TEXT");
    CLI::Option* kept_file = sub->add_option("-f,--file", save_options.prompt_file, "reads the text from a file")->type_name("FILE");
    kept->excludes(kept_file);
    sub->add_option("-o,--out", save_options.out, "the file to write")->required()->type_name("FILE");
    CLI::Option* quality = sub->add_option("--quality", save_options.quality, "from 1, the smallest file, to 5, the most exact")
                               ->check(CLI::Range(1u, 5u))
                               ->capture_default_str();
    sub->add_flag("--exact", save_options.exact, "keep every bit, for a cache of the same codec")->excludes(quality);
    sub = command_of(*cache, "load", "Goes on from such a file", load_options, load_cache);
    add_generation(sub, load_options.text);
    sub->add_option("FILE", load_options.path, "the file, of the same model")->required()->type_name("FILE");
    sub->add_option("-p,--prompt", load_options.text.prompt, "a text that follows what is in the file")->type_name("TEXT");
    sub->add_flag("--ignore-end", load_options.text.ignore_end, "go on past the model's end of text");

    sub = command("plan", "Tells the memory a model will take, before loading it", plan_options, plan);
    add_model(sub, plan_options.model);
    add_cache(sub, plan_options);
    sub->add_option("--ctx", plan_options.context, "tokens of context")->required()->check(whole(1));
    add_json(sub, plan_options.json);

    sub = command("kv-list", "Lists the caches that --kv takes, and their memory for a model", kv_list_options, list_caches);
    add_path(sub, kv_list_options.path);
    sub->add_option_function<std::vector<std::string>>(
           "--kv",
           [&](const std::vector<std::string>& texts) {
               for (const std::string& text : texts) kv_list_options.kv.push_back(read_kv(text));
           },
           "a cache to tell of (may be given several times; default: one of every storage and codec)")
        ->allow_extra_args(false)
        ->type_name("SPEC");
    sub->add_option("--ctx", kv_list_options.context, "tokens of context")->check(whole(1))->capture_default_str();
    add_json(sub, kv_list_options.json);

    sub = command("tokenize", "Text on standard input to token ids on one line", tokenize_options, tokenize);
    add_path(sub, tokenize_options.path);
    sub->add_flag("--special", tokenize_options.special, "text that reads like a special token becomes that token");

    sub = command("detokenize", "Token ids on standard input to text", detokenize_options, detokenize);
    add_path(sub, detokenize_options.path);

    sub = command("logits", "Writes the logits of every position of token sequences", logits_options, logits);
    add_model(sub, logits_options.model);
    add_kv(sub, logits_options.kv, "contiguous:f32");
    sub->add_option("--tokens", logits_options.tokens, "a JSON list of equally long lists of token ids")->required()->type_name("FILE");
    sub->add_option("--out", logits_options.out, "the .npy file to write: float32, (sequences, length, vocabulary)")
        ->required()
        ->type_name("FILE");
    sub->add_option("--chunk", logits_options.chunk, "tokens a step, of each sequence")->check(whole(1))->capture_default_str();
    sub->add_flag("--batch", logits_options.batch, "run all sequences side by side");

    sub = command("tensor", "Writes one tensor as 32-bit floats", tensor_options, tensor);
    add_path(sub, tensor_options.path);
    sub->add_option("NAME", tensor_options.name, "the tensor, as 'skald inspect' calls it")->required();
    sub->add_option("--out", tensor_options.out, "the .npy file to write")->required()->type_name("FILE");

    sub = command("perplexity", "Measures how well a model predicts a text, or how close it is to another model", perplexity_options,
                  perplexity);
    add_model(sub, perplexity_options.model);
    add_kv(sub, perplexity_options.kv, "contiguous:f32");
    sub->add_option("-f,--file", perplexity_options.file, "the text; '-' reads standard input")->required()->type_name("FILE");
    sub->add_option("--ctx", perplexity_options.context, "tokens a window; the second half of each is scored")
        ->check(whole(4))
        ->capture_default_str();
    sub->add_option("--reference", perplexity_options.reference, "a model to compare with, run with a contiguous:f32 cache")
        ->type_name("FILE");
    add_json(sub, perplexity_options.json);

    sub = command("embed", "Turns texts into vectors: one a line, or JSON, or an array file", embed_options, embed);
    add_model(sub, embed_options.model);
    add_kv(sub, embed_options.kv, "contiguous:f32");
    CLI::Option* embedded = sub->add_option("-p,--prompt", embed_options.texts, "a text (may be given several times)")
                                ->allow_extra_args(false)
                                ->type_name("TEXT");
    sub->add_option("-f,--file", embed_options.file, "reads the texts from a file, one a line; '-' reads standard input")
        ->type_name("FILE")
        ->excludes(embedded);
    sub->add_option_function<std::string>(
           "--pooling",
           [&](const std::string& word) {
               const auto known = skald::pooling_of(word);
               if (!known) throw CLI::ValidationError("--pooling", "'" + word + "' is none of mean, last and cls");
               embed_options.pooling = *known;
           },
           "which tokens' states make the vector (default mean)")
        ->type_name("mean|last|cls");
    sub->add_flag("--raw", embed_options.raw, "do not scale vectors to length 1");
    sub->add_option("--out", embed_options.out, "writes a .npy file: float32, (texts, width)")->type_name("FILE");
    add_json(sub, embed_options.json);

    sub = command("template", "Shows what a chat template makes of messages", template_options, render_template);
    sub->add_option("TEMPLATE", template_options.path, "a .jinja file, or a model that has a template")->required()->type_name("FILE");
    sub->add_option("--messages", template_options.messages,
                    "JSON: a list of messages, or an object with messages, tools, add_generation_prompt and other variables")
        ->required()
        ->type_name("FILE");
    sub->add_flag_callback("--add-generation-prompt", [&] { template_options.generation_prompt = true; }, "end where the assistant begins");
    sub->add_flag_callback("--no-generation-prompt", [&] { template_options.generation_prompt = false; }, "end with the last message");
    sub->add_option("--set", template_options.settings, "a variable, as enable_thinking=false (may be given several times)")
        ->allow_extra_args(false)
        ->type_name("NAME=JSON");
    sub->add_option("--name", template_options.name, "which template of a model that has several, as tool_use")->type_name("NAME");
    sub->add_option("--date", template_options.date, "the date that templates may show (default: today)")->type_name("YYYY-MM-DD");

    sub = command("score", "Tells how probable continuations of a text are", score_options, score);
    add_model(sub, score_options.model);
    add_kv(sub, score_options.kv, "contiguous:f32");
    sub->add_option("-p,--prompt", score_options.prompt, "the text before")->type_name("TEXT");
    sub->add_option("-c,--continuation", score_options.continuations, "what may follow it (may be given several times)")
        ->required()
        ->allow_extra_args(false)
        ->type_name("TEXT");
    add_json(sub, score_options.json);

    sub = command("bench", "Measures prompt and decode speed, and the bandwidth used of that the machine has", bench_options, bench);
    add_path(sub, bench_options.model.path);
    add_compute(sub, bench_options.model);
    add_packed_file(sub, bench_options.model);
    add_kv(sub, bench_options.kv, "paged:f16");
    sub->add_option("-n,--generate", bench_options.generate, "tokens of the decode test; 0: none")->check(whole(0))->capture_default_str();
    const auto add_list = [&](const char* name, std::vector<std::size_t>& values, const char* what, const CLI::Validator& numbers) {
        sub->add_option(name, values, what)->delimiter(',')->allow_extra_args(false)->check(numbers);
    };
    add_list("-p,--prompt", bench_options.prompts, "tokens of the prompt tests, as in 512,4096; 0: none (default: 512)", whole(0));
    add_list("--depth", bench_options.depths, "tokens in the cache before those of the decode test, as in 0,4096 (default: 0)", whole(0));
    add_list("--sequences", bench_options.sequences, "sequences that the decode test decodes together, as in 1,16 (default: 1)", whole(1));
    sub->add_flag("--no-cache", bench_options.no_cache, "decode tests read all tokens before each one again");
    sub->add_option("-r,--repetitions", bench_options.repetitions, "repetitions at least; their median counts")
        ->check(whole(1))
        ->capture_default_str();
    add_list("-t,--threads", bench_options.threads, "numbers of threads, as in 1,2 (default: all that this process may use)",
             whole(1, 1024));
    add_json(sub, bench_options.json);

    add_quantize(command("quantize", "Writes a GGUF file or a Hugging Face folder as GGUF, its matrices in another format",
                         quantize_options, quantize),
                 quantize_options);

    sub = command("imatrix", "Measures over a text which inputs of a model's matrices matter, for quantize --imatrix", imatrix_options,
                  imatrix);
    add_model(sub, imatrix_options.model);
    sub->add_option("-f,--file", imatrix_options.file, "the text; '-' reads standard input")->required()->type_name("FILE");
    sub->add_option("-o,--out", imatrix_options.out, "the GGUF file to write")->required()->type_name("FILE");
    sub->add_option("--ctx", imatrix_options.context, "tokens a chunk")->check(whole(4))->capture_default_str();
    sub->add_option("--chunks", imatrix_options.chunks, "chunks at most (default: all of the text)")->check(whole(1));

    try {
        app.parse(argc, argv);
        if (app.got_subcommand("run") && text->count() + file->count() == 0) throw CLI::RequiredError("--prompt or --file");
        if (cache->got_subcommand("save") && kept->count() + kept_file->count() == 0) throw CLI::RequiredError("--prompt or --file");
        if (app.got_subcommand("embed") && embed_options.texts.empty() && embed_options.file.empty())
            throw CLI::RequiredError("--prompt or --file");
    } catch (const CLI::Success& e) {
        return app.exit(e);
    } catch (const CLI::ParseError& e) {
        const auto chosen = app.get_subcommands();
        const std::string name = chosen.empty() ? "skald" : "skald " + chosen.front()->get_name();
        tell(skald::concat("skald: error: ", printable(e.what(), 1000), "; see '", name, " --help'\n"));
        return 2;
    }
    action();
    flush();
    return 0;
}

}  // namespace cli
