// SPDX-License-Identifier: MIT
#pragma once

// The version of the library, as numbers a preprocessor can compare. The build reads it from here.

#define SKALD_VERSION_MAJOR 0
#define SKALD_VERSION_MINOR 1
#define SKALD_VERSION_PATCH 0
