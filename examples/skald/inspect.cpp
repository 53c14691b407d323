// SPDX-License-Identifier: MIT
// inspect and plan: what a file holds, and what it will take. Neither reads a weight.
#include <algorithm>
#include <string>
#include <string_view>
#include <variant>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

using json = nlohmann::ordered_json;
using skald::concat;
using skald::io::gguf_file;
using skald::io::metadata_array;
using skald::io::metadata_entry;
using skald::io::metadata_value;
using skald::io::tensor_entry;

constexpr std::size_t shown_elements = 4;  // of an array

json to_json(const metadata_value& value) {
    const auto* array = std::get_if<const metadata_array*>(&value.value);
    if (array == nullptr)
        return std::visit(
            [](const auto& x) -> json {
                if constexpr (std::is_pointer_v<std::decay_t<decltype(x)>>)
                    return {};
                else
                    return x;
            },
            value.value);
    json first = json::array();
    for (std::size_t i = 0; i < std::min(shown_elements, (*array)->size()); ++i) first.push_back(to_json((**array)[i]));
    return {{"array", to_string((*array)->kind())}, {"size", (*array)->size()}, {"first", std::move(first)}};
}

std::string to_text(const metadata_value& value) {
    if (const auto* text = std::get_if<std::string_view>(&value.value)) return printable(*text, 100);
    const auto* array = std::get_if<const metadata_array*>(&value.value);
    if (array == nullptr) {
        const std::string text = skald::io::describe(value);
        return text.substr(text.find(' ') + 1);
    }
    std::string out = concat((*array)->size(), " ", to_string((*array)->kind()), " [");
    for (std::size_t i = 0; i < std::min(shown_elements, (*array)->size()); ++i) out += (i == 0 ? "" : ", ") + to_text((**array)[i]);
    return out + ((*array)->size() > shown_elements ? ", …]" : "]");
}

/// The architecture's own keys, without its name before them.
template <class F>
void for_each_hyperparameter(const gguf_file& file, F&& f) {
    const std::string prefix = file.meta().get<std::string>("general.architecture").value_or("") + ".";
    for (const metadata_entry& e : file.meta().entries())
        if (e.key.starts_with(prefix)) f(e.key.substr(prefix.size()), e.value);
}

/// The type as GGUF writes it: Q8_0.
std::string_view type_name(const tensor_entry& t) { return skald::io::find_gguf_tensor_type(t.file_type)->name; }

json describe(const gguf_file& file) {
    json out{{"file", file.name()},
             {"format", concat("GGUF v", file.version())},
             {"bytes", file.size()},
             {"files", file.shards()},
             {"alignment", file.alignment()},
             {"architecture", file.meta().get<std::string>("general.architecture").value_or("")},
             {"parameters", 0},
             {"hyperparameters", json::object()},
             {"metadata", json::object()},
             {"tensors", json::array()}};
    for_each_hyperparameter(file,
                            [&](std::string_view key, const metadata_value& v) { out["hyperparameters"][std::string(key)] = to_json(v); });
    for (const metadata_entry& e : file.meta().entries()) out["metadata"][std::string(e.key)] = to_json(e.value);
    std::uint64_t parameters = 0;
    for (const tensor_entry& t : file.tensors()) {
        out["tensors"].push_back({{"name", t.name}, {"type", type_name(t)}, {"shape", t.shape}, {"bytes", t.bytes}, {"offset", t.offset}});
        parameters += t.cols() * t.rows();
    }
    out["parameters"] = parameters;
    return out;
}

void print(const json& j) { write(j.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }

std::string padded(std::string_view text, std::size_t width) {
    std::string out(text);
    return out.append(width - std::min(width, text.size()), ' ');
}

void print_text(const gguf_file& file) {
    std::uint64_t parameters = 0;
    for (const tensor_entry& t : file.tensors()) parameters += t.cols() * t.rows();
    write(concat("file          ", printable(file.name(), 1000), "\n"));
    write(concat("format        GGUF v", file.version(), ", ", human_bytes(file.size()), file.shards() > 1 ? " in " : "",
                 file.shards() > 1 ? concat(file.shards(), " files") : "", "\n"));
    write(concat("architecture  ", printable(file.meta().get<std::string_view>("general.architecture").value_or("(none)"), 100), "\n"));
    write(concat("parameters    ", parameters, "\n"));

    const auto list = [](std::string_view title, const auto& each) {
        std::size_t width = 0;
        each([&](std::string_view key, const metadata_value&) { width = std::max(width, std::min<std::size_t>(key.size(), 48)); });
        write(concat("\n", title, "\n"));
        each([&](std::string_view key, const metadata_value& v) {
            write(concat("  ", padded(printable(key, 100), width), "  ", to_text(v), "\n"));
        });
    };
    list("hyperparameters", [&](const auto& f) { for_each_hyperparameter(file, f); });
    list("metadata", [&](const auto& f) {
        for (const metadata_entry& e : file.meta().entries()) f(e.key, e.value);
    });

    std::size_t width = 0;
    for (const tensor_entry& t : file.tensors()) width = std::max(width, std::min<std::size_t>(t.name.size(), 64));
    write(concat("\ntensors: ", file.tensors().size(), " (shapes with the fastest varying extent first)\n"));
    for (const tensor_entry& t : file.tensors()) {
        std::string shape;
        for (const std::uint64_t extent : t.shape) shape += concat(shape.empty() ? "" : " × ", extent);
        write(concat("  ", padded(printable(t.name, 100), width), "  ", padded(type_name(t), 8), padded(concat(t.bytes), 12), shape, "\n"));
    }
}

}  // namespace

void inspect(const inspect_command& c) {
    const gguf_file file = gguf_file::open(c.path);
    if (c.json)
        print(describe(file));
    else
        print_text(file);
}

void plan(const plan_command& c) {
    const skald::memory_plan p = plan_memory(c.model, c.kv, c.context);
    if (c.json) {
        print({{"weights", p.weights}, {"tokenizer", p.tokenizer}, {"cache", p.cache}, {"workspace", p.workspace}, {"total", p.total()}});
        return;
    }
    const auto line = [](std::string_view what, std::size_t bytes) {
        write(concat(padded(what, 12), std::string(16 - std::min<std::size_t>(16, concat(bytes).size()), ' '), bytes, "  ",
                     human_bytes(bytes), "\n"));
    };
    line("weights", p.weights);
    line("tokenizer", p.tokenizer);
    line("cache", p.cache);
    line("workspace", p.workspace);
    line("total", p.total());
}

}  // namespace cli
