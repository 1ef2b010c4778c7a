/* Frames of 16-bit pixels through the LiveViewPlugin of odin-data, for odin_live.py: live ADDRESS ROWS COLUMNS COUNT RATE_HZ
 * It waits for a line before the first frame. Pixel (row, column) of frame n is row + column + n. */
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "DataBlockFrame.h"
#include "IpcMessage.h"
#include "LiveViewPlugin.h"
#include <log4cxx/basicconfigurator.h>

class Plugin : public FrameProcessor::LiveViewPlugin {
public:
    using FrameProcessor::LiveViewPlugin::process_frame;
};

int main(int argc, char** argv)
{
    log4cxx::BasicConfigurator::configure();
    log4cxx::Logger::getRootLogger()->setLevel(log4cxx::Level::getWarn());
    const std::string address = argv[1];
    const unsigned long long rows = std::atoll(argv[2]), columns = std::atoll(argv[3]);
    const int count = std::atoi(argv[4]);
    const std::chrono::duration<double> period(1.0 / std::atof(argv[5]));
    Plugin plugin;
    OdinData::IpcMessage config, reply;
    config.set_param(FrameProcessor::LiveViewPlugin::CONFIG_SOCKET_ADDR, address);
    config.set_param(FrameProcessor::LiveViewPlugin::CONFIG_FRAME_FREQ, 1);
    config.set_param(FrameProcessor::LiveViewPlugin::CONFIG_PER_SECOND, 0);
    plugin.configure(config, reply);
    std::cout << "ready" << std::endl;
    std::string line;
    std::getline(std::cin, line);
    std::vector<uint16_t> pixels(rows * columns);
    for (int n = 0; n < count; n++) {
        for (unsigned long long r = 0; r < rows; r++)
            for (unsigned long long c = 0; c < columns; c++)
                pixels[r * columns + c] = uint16_t(r + c + n);
        FrameProcessor::FrameMetaData meta(n, "data", FrameProcessor::raw_16bit, "scan", { rows, columns },
                                           FrameProcessor::no_compression);
        boost::shared_ptr<FrameProcessor::Frame> frame(
            new FrameProcessor::DataBlockFrame(meta, pixels.data(), 2 * rows * columns));
        plugin.process_frame(frame);
        std::this_thread::sleep_for(period);
    }
    std::cout << "sent" << std::endl;
    std::getline(std::cin, line);
    return 0;
}
