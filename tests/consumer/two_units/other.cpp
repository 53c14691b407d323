// SPDX-License-Identifier: MIT
// A second unit that defines everything main.cpp does.

#include <skald/skald.hpp>

skald::model<skald::cpu<>> load_elsewhere(const char* path) { return skald::load_model<skald::cpu<>>(path); }
