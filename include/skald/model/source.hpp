// SPDX-License-Identifier: MIT
#pragma once
// What a loader found in a model's files, whatever their kind: config, architecture, and every tensor by role, checked against
// the config. From here on nobody asks which kind of file it was.
#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/format/weight_view.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>

namespace skald {

/// The tensors of a model by role; an absent one has no rows. Views stay valid while the file does.
class model_source {
public:
    /// Gives the bytes of a tensor by its name, valid while the file is.
    using fetch_callback = std::function<const std::byte*(std::string_view name)>;

    model_source(const skald::architecture& architecture, model_config config, std::string file, fetch_callback fetch)
        : architecture_(&architecture),
          config_(std::move(config)),
          file_(std::move(file)),
          fetch_(std::move(fetch)),
          tensors_(1 + config_.layers) {}

    const skald::architecture& architecture() const noexcept { return *architecture_; }
    const model_config& config() const noexcept { return config_; }
    const std::string& file() const noexcept { return file_; }

    /// The tensor of a role, without its bytes; `layer` matters for layer roles only.
    const weight_view& operator()(tensor_role role, std::size_t layer = 0) const noexcept {
        return tensors_[is_layer_role(role) ? 1 + layer : 0][static_cast<std::size_t>(role)];
    }

    /// The same with its bytes, which are read now if the file is no mapping.
    weight_view fetch(tensor_role role, std::size_t layer = 0) const {
        weight_view w = (*this)(role, layer);
        w.data = fetch_(w.name);
        return w;
    }

    bool has(tensor_role role, std::size_t layer = 0) const noexcept { return (*this)(role, layer).rows != 0; }

    /// Takes a tensor into its place, after checking its shape and format.
    void put(tensor_role role, std::size_t layer, const weight_view& w) {
        const tensor_shape expected = shape_of(role, config_);
        if (tensor_shape{w.rows, w.cols} != expected)
            fail(errc::bad_file, file_, "tensor '", w.name, "' has ", w.rows, " × ", w.cols, " values; the config says ", expected.rows,
                 " × ", expected.cols);
        if (!format::contains(format::all_weights{}, w.type))
            fail(errc::unsupported, file_, "tensor '", w.name, "' is of the format ", to_string(w.type),
                 ", which this version cannot compute with");
        tensors_[is_layer_role(role) ? 1 + layer : 0][static_cast<std::size_t>(role)] = w;
    }

private:
    const skald::architecture* architecture_;
    model_config config_;
    std::string file_;
    fetch_callback fetch_;
    std::vector<std::array<weight_view, tensor_role_count>> tensors_;
};

}  // namespace skald
