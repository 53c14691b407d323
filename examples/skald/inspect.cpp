// SPDX-License-Identifier: MIT
// inspect and plan: what a file holds, and what it will take. Neither reads a weight.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>
#include <skald/io/safetensors.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/load.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

using json = nlohmann::ordered_json;
using fields = json::object_t;  // a vector of pairs: appending does not look for the key
using skald::concat;
using skald::io::gguf_file;
using skald::io::hf_folder;
using skald::io::metadata_array;
using skald::io::metadata_entry;
using skald::io::metadata_value;
using skald::io::safetensors_tensor;
using skald::io::tensor_entry;

constexpr std::size_t shown_elements = 4;  // of an array

struct tensor_row {
    std::string name;
    std::string_view type;
    std::vector<std::uint64_t> shape;
    std::uint64_t bytes, offset;
};

/// What is told of a model, whatever its files are.
struct report {
    std::string file, format;
    std::uint64_t bytes = 0;
    std::size_t files = 1;
    std::uint64_t alignment = 1;
    std::string architecture;
    fields hyperparameters, metadata, sampling;
    std::vector<tensor_row> tensors;
    std::string_view shape_order;

    std::uint64_t parameters() const {
        std::uint64_t total = 0;
        for (const tensor_row& t : tensors) {
            std::uint64_t values = 1;
            for (const std::uint64_t extent : t.shape) values *= extent;
            total += values;
        }
        return total;
    }
};

/// A float as the shortest number that is that float: 1e-05, where its double would be 9.999999747378752e-06.
double shortest(float value) { return std::strtod(concat(value).c_str(), nullptr); }

json to_json(const metadata_value& value) {
    if (const auto* array = std::get_if<const metadata_array*>(&value.value)) {
        json first = json::array();
        for (std::size_t i = 0; i < std::min(shown_elements, (*array)->size()); ++i) first.push_back(to_json((**array)[i]));
        return {{"array", to_string((*array)->kind())}, {"size", (*array)->size()}, {"first", std::move(first)}};
    }
    if (value.kind == skald::io::value_kind::f32) return shortest(static_cast<float>(std::get<double>(value.value)));
    return std::visit(
        [](const auto& x) -> json {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(x)>>)
                return {};
            else
                return x;
        },
        value.value);
}

std::string to_text(const json& value) {
    if (value.is_string()) return printable(value.get_ref<const std::string&>(), 100);
    if (!value.is_object() || !value.contains("array")) return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 100);
    std::string out;
    for (const json& element : value["first"]) out += (out.empty() ? "" : ", ") + to_text(element);
    const auto size = value["size"].get<std::size_t>();
    return concat(size, " ", value["array"].get<std::string>(), " [", out, size > shown_elements ? ", …]" : "]");
}

fields to_fields(const skald::generation_defaults& d) {
    fields out;
    const auto put = [&](const char* key, const auto& value) {
        if (value) out.emplace_back(key, json(shortest(static_cast<float>(*value))));
    };
    put("temperature", d.temperature);
    if (d.top_k) out.emplace_back("top_k", json(*d.top_k));
    put("top_p", d.top_p);
    put("min_p", d.min_p);
    put("repetition_penalty", d.repetition_penalty);
    if (!d.ends.empty()) out.emplace_back("ends", json(d.ends));
    return out;
}

report examine(const gguf_file& file) {
    report out;
    out.file = file.name();
    out.format = concat("GGUF v", file.version());
    out.bytes = file.size();
    out.files = file.shards();
    out.alignment = file.alignment();
    out.architecture = file.meta().get<std::string>("general.architecture").value_or("");
    out.sampling = to_fields(skald::read_defaults(file));
    const std::string prefix = out.architecture + ".";
    for (const metadata_entry& e : file.meta().entries()) {
        if (e.key.starts_with(prefix)) out.hyperparameters.emplace_back(std::string(e.key.substr(prefix.size())), to_json(e.value));
        out.metadata.emplace_back(std::string(e.key), to_json(e.value));
    }
    out.shape_order = "the fastest varying extent first";
    for (const tensor_entry& t : file.tensors())  // types as GGUF writes them: Q8_0
        out.tensors.push_back({t.name, skald::io::find_gguf_tensor_type(t.file_type)->name, t.shape, t.bytes, t.offset});
    return out;
}

report examine(const hf_folder& folder) {
    report out;
    const skald::io::safetensors_file weights = folder.weights();
    out.file = folder.name();
    out.format = "safetensors";
    out.bytes = weights.size();
    out.files = weights.shards();
    if (folder.has("config.json")) {
        const nlohmann::json config = folder.read("config.json");
        const skald::io::json_object keys(config, folder.name_of("config.json"));
        out.architecture = keys.get<std::string>("model_type").value_or("");
        for (const auto& [key, value] : config.items()) out.hyperparameters.emplace_back(key, json(value));
        out.sampling = to_fields(skald::read_defaults(folder));
    }
    for (const auto& [key, value] : weights.metadata()) out.metadata.emplace_back(key, json(value));
    out.shape_order = "the slowest varying extent first";
    for (const safetensors_tensor& t : weights.tensors()) out.tensors.push_back({t.name, t.type->name, t.shape, t.bytes, t.offset});
    return out;
}

void print(const json& j) { write(j.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }

void print_json(const report& r) {
    json tensors = json::array();
    for (const tensor_row& t : r.tensors)
        tensors.push_back({{"name", t.name}, {"type", t.type}, {"shape", t.shape}, {"bytes", t.bytes}, {"offset", t.offset}});
    print({{"file", r.file},
           {"format", r.format},
           {"bytes", r.bytes},
           {"files", r.files},
           {"alignment", r.alignment},
           {"architecture", r.architecture},
           {"parameters", r.parameters()},
           {"hyperparameters", r.hyperparameters},
           {"sampling", r.sampling},
           {"metadata", r.metadata},
           {"tensors", std::move(tensors)}});
}

void print_fields(std::string_view title, const fields& all) {
    std::size_t width = 0;
    for (const auto& [key, value] : all) width = std::max(width, std::min<std::size_t>(key.size(), 48));
    write(concat("\n", title, "\n"));
    for (const auto& [key, value] : all) write(concat("  ", padded(printable(key, 100), width), "  ", to_text(value), "\n"));
}

void print_text(const report& r) {
    write(concat("file          ", printable(r.file, 1000), "\n"));
    write(concat("format        ", r.format, ", ", human_bytes(r.bytes), r.files > 1 ? concat(" in ", r.files, " files") : std::string(),
                 "\n"));
    write(concat("architecture  ", r.architecture.empty() ? std::string("(none)") : printable(r.architecture, 100), "\n"));
    write(concat("parameters    ", r.parameters(), "\n"));
    print_fields("hyperparameters", r.hyperparameters);
    if (!r.sampling.empty()) print_fields("sampling, unless run and chat are told otherwise", r.sampling);
    print_fields("metadata", r.metadata);

    std::size_t width = 0;
    for (const tensor_row& t : r.tensors) width = std::max(width, std::min<std::size_t>(t.name.size(), 64));
    write(concat("\ntensors: ", r.tensors.size(), " (shapes with ", r.shape_order, ")\n"));
    for (const tensor_row& t : r.tensors) {
        std::string shape;
        for (const std::uint64_t extent : t.shape) shape += concat(shape.empty() ? "" : " × ", extent);
        write(concat("  ", padded(printable(t.name, 100), width), "  ", padded(t.type, 8), padded(concat(t.bytes), 12), shape, "\n"));
    }
}

}  // namespace

void inspect(const inspect_command& c) {
    const report found = skald::with_model_file(c.path, {}, [](const auto& file) { return examine(file); });
    if (c.json)
        print_json(found);
    else
        print_text(found);
}

void plan(const plan_command& c) {
    const skald::memory_plan p = plan_memory(c.model, c);
    if (c.json) {
        print({{"weights", p.weights},
               {"tokenizer", p.tokenizer},
               {"cache", p.cache},
               {"workspace", p.workspace},
               {"total", p.total()},
               {"mapped", p.mapped}});
        return;
    }
    const auto line = [](std::string_view what, std::size_t bytes) {
        write(concat(padded(what, 12), padded_left(concat(bytes), 16), "  ", human_bytes(bytes), "\n"));
    };
    line("weights", p.weights);
    line("tokenizer", p.tokenizer);
    line("cache", p.cache);
    line("workspace", p.workspace);
    line("total", p.total());
    if (p.mapped != 0) line("mapped", p.mapped);
}

}  // namespace cli
