const uint8_t CONV1[4] = { 1, 0, 0, 1 };
