// A tomogram as VTK.js draws it: `make web-bundle` puts this and the parts of VTK.js that it needs into one file.

import "@kitware/vtk.js/Rendering/OpenGL/Camera";
import "@kitware/vtk.js/Rendering/OpenGL/Renderer";
import "@kitware/vtk.js/Rendering/OpenGL/Volume";
import "@kitware/vtk.js/Rendering/OpenGL/VolumeMapper";
import vtkDataArray from "@kitware/vtk.js/Common/Core/DataArray";
import vtkImageData from "@kitware/vtk.js/Common/DataModel/ImageData";
import vtkPiecewiseFunction from "@kitware/vtk.js/Common/DataModel/PiecewiseFunction";
import vtkPlane from "@kitware/vtk.js/Common/DataModel/Plane";
import vtkInteractorStyleTrackballCamera from "@kitware/vtk.js/Interaction/Style/InteractorStyleTrackballCamera";
import vtkColorTransferFunction from "@kitware/vtk.js/Rendering/Core/ColorTransferFunction";
import vtkRenderer from "@kitware/vtk.js/Rendering/Core/Renderer";
import vtkRenderWindow from "@kitware/vtk.js/Rendering/Core/RenderWindow";
import vtkRenderWindowInteractor from "@kitware/vtk.js/Rendering/Core/RenderWindowInteractor";
import vtkVolume from "@kitware/vtk.js/Rendering/Core/Volume";
import vtkVolumeMapper from "@kitware/vtk.js/Rendering/Core/VolumeMapper";
import vtkOpenGLRenderWindow from "@kitware/vtk.js/Rendering/OpenGL/RenderWindow";

// How finely it is drawn: pixels of the picture for one of the screen, and whether surfaces are lit, which costs most of
// the time. Which of them is in use follows from how long the last picture took: there may be no graphics card.
const QUALITIES = [[0.2, false], [0.3, false], [0.45, false], [0.45, true], [0.7, true], [1, true]];
const BEGIN_WITH = 2, SLOW_MS = 180, QUICK_MS = 25;

export function createVolumeView(container) {
  const window_ = vtkRenderWindow.newInstance();
  const renderer = vtkRenderer.newInstance({ background: [0, 0, 0] });
  window_.addRenderer(renderer);
  const view = vtkOpenGLRenderWindow.newInstance();
  view.setContainer(container);
  window_.addView(view);
  const interactor = vtkRenderWindowInteractor.newInstance();
  interactor.setView(view);
  interactor.initialize();
  interactor.bindEvents(container);
  interactor.setInteractorStyle(vtkInteractorStyleTrackballCamera.newInstance());

  const mapper = vtkVolumeMapper.newInstance();
  mapper.setBlendModeToComposite();
  mapper.setAutoAdjustSampleDistances(true);
  const actor = vtkVolume.newInstance();
  actor.setMapper(mapper);
  const colours = vtkColorTransferFunction.newInstance();
  const opacity = vtkPiecewiseFunction.newInstance();
  const property = actor.getProperty();
  property.setRGBTransferFunction(0, colours);
  property.setScalarOpacity(0, opacity);
  property.setInterpolationTypeToLinear();
  property.setAmbient(0.35);
  property.setDiffuse(0.7);
  property.setSpecular(0.15);
  const planes = ["x", "y", "z"].flatMap((_, axis) => [1, -1].map((sign) => {
    const normal = [0, 0, 0];
    normal[axis] = sign;
    return vtkPlane.newInstance({ normal });
  }));
  planes.forEach((plane) => mapper.addClippingPlane(plane));
  let bounds = null, quality = BEGIN_WITH, waiting = null;
  const pixel = new Uint8Array(4);

  // Draws at once, and waits until it is drawn; gives the milliseconds that this took.
  function draw() {
    cancelAnimationFrame(waiting);
    waiting = null;
    const { width, height } = container.getBoundingClientRect();
    if (width < 1 || height < 1 || !bounds) return 0;
    const [scale, lit] = QUALITIES[quality], began = performance.now();
    const size = [width, height].map((side) => Math.max(1, Math.floor(side * scale)));
    if (size.some((side, n) => side !== view.getSize()[n])) view.setSize(...size);
    property.setShade(lit);
    window_.render();
    const gl = view.getContext();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    const took = performance.now() - began;
    if (took > SLOW_MS && quality > 0) quality--;
    else if (took < QUICK_MS && quality < QUALITIES.length - 1) quality++;
    return took;
  }

  // Draws with the next picture of the screen, once for all that has changed until then.
  function render() {
    waiting ??= requestAnimationFrame(draw);
  }
  new ResizeObserver(render).observe(container);

  function reset() {
    const camera = renderer.getActiveCamera();
    // z counts detector rows, which go down.
    camera.setViewUp(0, 0, -1);
    camera.setPosition(1, -1.6, -0.9);
    camera.setFocalPoint(0, 0, 0);
    renderer.resetCamera();
    render();
  }

  // Bytes (z, y, x) as the server describes them: the box that they fill is in voxels of the tomogram.
  function show({ shape: [depth, height, width], box: [[z], [y], [x]], step }, voxels) {
    const image = vtkImageData.newInstance({ spacing: [step, step, step], origin: [x, y, z].map((first) => first + (step - 1) / 2) });
    image.setDimensions(width, height, depth);
    image.getPointData().setScalars(vtkDataArray.newInstance({ name: "voxels", values: voxels, numberOfComponents: 1 }));
    mapper.setInputData(image);
    mapper.setSampleDistance(step * 0.9);
    property.setScalarOpacityUnitDistance(0, step * 3);
    if (!renderer.getVolumes().length) renderer.addVolume(actor);
    const before = bounds;
    bounds = image.getBounds();
    if (!before || before.some((side, n) => side !== bounds[n])) reset();
    render();
  }

  // floor (transparent below), ceiling (most opaque from there on) and strength are shares; colour gives red, green, blue
  // (0 to 255) of a share of the grey values.
  function matter(floor, ceiling, strength, colour) {
    colours.removeAllPoints();
    for (let n = 0; n <= 16; n++) colours.addRGBPoint((255 * n) / 16, ...colour(0.15 + (0.85 * n) / 16).map((part) => part / 255));
    opacity.removeAllPoints();
    opacity.addPoint(0, 0);
    opacity.addPoint(255 * floor, 0);
    opacity.addPoint(255 * (floor + 0.3 * (ceiling - floor)), strength * 0.35);
    opacity.addPoint(255 * ceiling, strength);
    opacity.addPoint(256, strength);
    render();
  }

  // What lies outside these shares of the box is cut away.
  function cut(...ranges) {
    if (!bounds) return;
    ranges.forEach(([first, last], axis) => {
      const [low, high] = bounds.slice(2 * axis, 2 * axis + 2), at = [first, last].map((share) => low + share * (high - low));
      at.forEach((place, side) => {
        const origin = [0, 0, 0];
        origin[axis] = place + (side ? 0.5 : -0.5);
        planes[2 * axis + side].setOrigin(origin);
      });
    });
    render();
  }

  function turn(right, up) {
    const camera = renderer.getActiveCamera();
    camera.azimuth(right);
    camera.elevation(up);
    camera.orthogonalizeViewUp();
    renderer.resetCameraClippingRange();
    render();
  }

  function zoom(factor) {
    renderer.getActiveCamera().zoom(factor);
    render();
  }

  return { show, matter, cut, reset, turn, zoom, draw, get quality() { return QUALITIES[quality]; } };
}
