// SPDX-License-Identifier: MIT
#pragma once
// What a loader found in a model's files, whatever their kind: config, architecture, and every tensor by role, checked against
// the config. From here on nobody asks which kind of file it was.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/format/weight_view.hpp>
#include <skald/model/architecture.hpp>

namespace skald {

/// Where a source's tensors get their bytes.
class tensor_reader {
public:
    tensor_reader() = default;
    tensor_reader(const tensor_reader&) = delete;
    tensor_reader& operator=(const tensor_reader&) = delete;
    virtual ~tensor_reader() = default;

    /// The bytes of a tensor by its name, valid while the file is; those of a converted one until another such tensor is read.
    virtual const std::byte* read(std::string_view name) = 0;
    /// True for a tensor whose values are not those of the file.
    virtual bool converts(std::string_view) const { return false; }
    /// Copies bytes of a tensor as the file has them, from `first` on.
    virtual void copy(std::string_view name, std::size_t first, std::span<std::byte> out) const = 0;
    /// Stands for the files and when they were last changed.
    virtual std::uint64_t stamp() const = 0;
    /// Bytes of a tensor will not be read soon.
    virtual void release(std::string_view name, std::size_t first, std::size_t count) const = 0;
};

/// The tensors of a model by role; an absent one has no rows. Views stay valid while the file does.
class model_source {
public:
    model_source(const skald::architecture& architecture, model_config config, std::string file, std::shared_ptr<tensor_reader> reader)
        : architecture_(&architecture), config_(std::move(config)), file_(std::move(file)), reader_(std::move(reader)) {}

    const skald::architecture& architecture() const noexcept { return *architecture_; }
    const model_config& config() const noexcept { return config_; }
    const std::string& file() const noexcept { return file_; }

    /// The tensor of a role, without its bytes; `layer` matters for layer roles only, `expert` for expert roles.
    weight_view operator()(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) const { return find(role, layer, expert).view; }

    /// The same with its bytes, which are read now if the file is no mapping.
    weight_view fetch(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) const {
        const place p = find(role, layer, expert);
        weight_view w = p.view;
        w.data = reader_->read(w.name) + row_bytes(w.type, p.first);
        return w;
    }

    /// Copies bytes of a role's tensor, from `first` on; of a converted one bytes that it is made of.
    void copy(tensor_role role, std::size_t layer, std::size_t expert, std::size_t first, std::span<std::byte> out) const {
        const place p = find(role, layer, expert);
        reader_->copy(p.view.name, row_bytes(p.view.type, p.first) + first, out);
    }

    /// The tensor of a role will not be fetched soon: its pages may leave memory.
    void release(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) const {
        const place p = find(role, layer, expert);
        if (p.view.rows != 0) reader_->release(p.view.name, row_bytes(p.view.type, p.first), p.view.bytes());
    }

    /// True if what is fetched for a role are not bytes of the file, and so do not last as long as it does.
    bool converts(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) const {
        return reader_->converts(find(role, layer, expert).view.name);
    }

    /// Who fetches: it may own the open files.
    const std::shared_ptr<tensor_reader>& reader() const noexcept { return reader_; }

    bool has(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) const { return find(role, layer, expert).view.rows != 0; }

    /// f(role, layer, expert, view) for every tensor that is there, layer by layer; those that belong to no layer first.
    template <class F>
    void for_each(F&& f) const {
        const auto visit = [&](bool of_layers, std::size_t layer) {
            for (std::size_t r = 0; r < tensor_role_count; ++r) {
                const auto role = static_cast<tensor_role>(r);
                if (is_layer_role(role) != of_layers) continue;
                const std::size_t experts = is_expert_role(role) ? config_.experts.count : 1;
                for (std::size_t e = 0; e < experts; ++e)
                    if (const weight_view w = (*this)(role, layer, e); w.rows != 0) f(role, layer, e, w);
            }
        };
        visit(false, 0);
        for (std::size_t i = 0; i < config_.layers; ++i) visit(true, i);
    }

    /// True where a layer's feed-forward block is one of experts.
    bool has_experts(std::size_t layer) const { return has(tensor_role::router, layer); }

    /// Takes a tensor into its place, after checking its shape and format. One that holds several roles is taken apart. `expert`: it
    /// holds that one only, else all.
    void put(tensor_role role, std::size_t layer, const weight_view& w, std::optional<std::size_t> expert = {}) {
        tensor_shape expected = shape_of(role, *architecture_, config_);
        if (expert) expected.rows /= std::max<std::size_t>(config_.experts.count, 1);
        if (tensor_shape{w.rows, w.cols} != expected)
            fail(errc::bad_file, file_, "tensor '", w.name, "' has ", w.rows, " × ", w.cols, " values; the config says ", expected.rows,
                 " × ", expected.cols);
        if (!(w.rows == 1 ? format::contains(format::all{}, w.type) : format::contains(format::all_weights{}, w.type)))
            fail(errc::unsupported, file_, "tensor '", w.name, "' is of the format ", to_string(w.type),
                 ", which this version cannot compute with");
        const std::size_t copies = is_expert_role(role) && !expert ? config_.experts.count : 1;
        const std::size_t stride = w.rows / std::max<std::size_t>(copies, 1) * w.cols;
        std::size_t first = 0;
        for (const tensor_role part : parts_of(role)) {
            const tensor_shape all = shape_of(part, *architecture_, config_);
            weight_view one = w;
            one.rows = is_expert_role(part) ? all.rows / config_.experts.count : all.rows;
            one.cols = all.cols;
            put(part, layer, expert, {one, first, stride});
            first += one.rows * one.cols;
        }
        if (!parts_of(role).empty()) return;
        weight_view one = w;
        one.rows /= std::max<std::size_t>(copies, 1);
        put(role, layer, expert, {one, 0, stride});
    }

private:
    /// Where a part lies: values before it in its tensor, and from one expert's to the next one's.
    struct place {
        weight_view view;
        std::size_t first = 0, stride = 0;
    };

    void put(tensor_role role, std::size_t layer, std::optional<std::size_t> expert, const place& p) {
        if (p.first % info(p.view.type).block_size != 0 || p.view.cols % info(p.view.type).block_size != 0)
            fail(errc::unsupported, file_, "tensor '", p.view.name,
                 "' holds several parts that do not begin at whole blocks of the format ", to_string(p.view.type));
        const auto next = places_.lower_bound({role, layer, std::nullopt});  // all experts at once stand before each alone
        const bool taken = next != places_.end() && std::get<0>(next->first) == role && std::get<1>(next->first) == layer;
        if (expert ? has(role, layer, *expert) : taken)
            fail(errc::bad_file, file_, "tensor '", p.view.name, "' stands for the same as tensor '", next->second.view.name, "'");
        places_[{role, layer, expert}] = p;
    }

    place find(tensor_role role, std::size_t layer, std::size_t expert) const {
        if (!is_layer_role(role)) layer = 0;
        if (is_expert_role(role))
            if (const auto alone = places_.find({role, layer, expert}); alone != places_.end()) return alone->second;
        const auto found = places_.find({role, layer, std::nullopt});
        if (found == places_.end()) return {};
        place p = found->second;
        p.first += is_expert_role(role) ? expert * p.stride : 0;
        return p;
    }

    const skald::architecture* architecture_;
    model_config config_;
    std::string file_;
    std::shared_ptr<tensor_reader> reader_;
    std::map<std::tuple<tensor_role, std::size_t, std::optional<std::size_t>>, place> places_;  // by layer and expert; no expert: all
};

}  // namespace skald
