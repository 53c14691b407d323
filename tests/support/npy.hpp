// SPDX-License-Identifier: MIT
#pragma once
// Reads the .npy fixtures of tests/data: version 1, float32, C order.
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace skald::test {

struct npy {
    std::vector<std::size_t> shape;
    std::vector<float> values;
};

inline npy read_npy(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const auto bad = [&](const char* what) { return std::runtime_error(path + ": " + what); };
    if (all.size() < 10 || all.substr(0, 6) != "\x93NUMPY") throw bad("no npy file");
    const std::size_t length = static_cast<unsigned char>(all[8]) + 256u * static_cast<unsigned char>(all[9]);
    const std::string header = all.substr(10, length);
    if (header.find("'<f4'") == std::string::npos || header.find("False") == std::string::npos) throw bad("not float32 in C order");
    npy out;
    std::size_t count = 1;
    for (std::size_t at = header.find('(', header.find("'shape'")) + 1; header[at] != ')';) {
        if (header[at] < '0' || header[at] > '9') {
            ++at;
            continue;
        }
        std::size_t used = 0;
        out.shape.push_back(std::stoul(header.substr(at), &used));
        count *= out.shape.back();
        at += used;
    }
    if (all.size() != 10 + length + count * sizeof(float)) throw bad("its size does not match its shape");
    out.values.resize(count);
    std::memcpy(out.values.data(), all.data() + 10 + length, count * sizeof(float));
    return out;
}

}  // namespace skald::test
