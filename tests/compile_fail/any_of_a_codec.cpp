// expect: skald: kv::any takes the backend of the model, as kv::any<cpu<>>
// SPDX-License-Identifier: MIT

#include <skald/kv/any_cpu.hpp>

namespace kv = skald::kv;

kv::any<kv::f16> wrong{kv::parse_spec("paged:f16"), {.tokens = 16}};
