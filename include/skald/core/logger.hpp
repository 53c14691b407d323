// SPDX-License-Identifier: MIT
#pragma once
// What the library has to tell that is neither a result nor a failure. It goes to the logger that the host injected, and
// nowhere without one.
#include <functional>
#include <string_view>

namespace skald {

enum class log_level { debug, info, warning };

/// Called with one line of text without a line break; may be called from any thread that uses the library. Empty: silence.
using logger = std::function<void(log_level, std::string_view)>;

}  // namespace skald
