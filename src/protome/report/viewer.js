// Turns the head that the page carries: drag, wheel, pinch, arrow keys; buttons choose what is shown.
(() => {
  "use strict";
  const place = document.getElementById("viewer");
  const status = document.getElementById("viewer-status");
  if (!window.THREE || !place) return;
  function bytes(id) {
    const text = atob(document.getElementById(id).textContent.trim()), data = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) data[k] = text.charCodeAt(k); // Uint8Array.from takes many times as long
    return data;
  }
  const facts = JSON.parse(document.getElementById("viewer-facts").textContent);
  let renderer;
  try {
    renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
  } catch (error) {
    status.textContent = "This browser offers no WebGL: the picture shows the head.";
    return;
  }
  renderer.outputEncoding = THREE.sRGBEncoding;
  renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
  place.appendChild(renderer.domElement);
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(30, 1, 0.01, 20);
  const lamp = new THREE.DirectionalLight(0xffffff, 0.9);
  scene.add(new THREE.HemisphereLight(0xffffff, 0x554433, 0.45), lamp, lamp.target);
  const around = { yaw: 0.35, pitch: 0.08, distance: 1, centre: new THREE.Vector3() };
  let head = null, textured = null, shown = document.querySelector("[data-show]").dataset.show, rigs = null, queued = false;

  function draw() {
    queued = false;
    const level = Math.cos(around.pitch);
    const away = new THREE.Vector3(Math.sin(around.yaw) * level, Math.sin(around.pitch), Math.cos(around.yaw) * level);
    camera.position.copy(around.centre).addScaledVector(away, around.distance);
    camera.lookAt(around.centre);
    lamp.position.copy(camera.position).add(new THREE.Vector3(0.3, 0.5, 0));
    lamp.target.position.copy(around.centre);
    renderer.render(scene, camera);
  }
  function request() {
    if (!queued) { queued = true; requestAnimationFrame(draw); }
  }
  function resize() {
    const width = place.clientWidth, height = place.clientHeight;
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    request();
  }
  function turn(yaw, pitch) {
    around.yaw = yaw;
    around.pitch = Math.max(-1.4, Math.min(1.4, pitch));
    request();
  }
  function zoom(factor) {
    around.distance = Math.max(0.15, Math.min(3, around.distance * factor));
    request();
  }

  const materials = {
    texture: () => textured,
    shape: () => new THREE.MeshStandardMaterial({ color: 0xb9b4ae, roughness: 0.75, metalness: 0, normalMap: textured.normalMap || null }),
    normals: () => new THREE.MeshNormalMaterial(),
    colours: () => new THREE.MeshBasicMaterial({ vertexColors: true }),
    seen: () => new THREE.MeshBasicMaterial({ map: pictured("seen-map") }),
  };
  function pictured(id) {
    const texture = new THREE.TextureLoader().load(document.getElementById(id).textContent.trim(), request);
    texture.flipY = false;
    texture.encoding = THREE.sRGBEncoding;
    return texture;
  }
  const made = {};
  function show(name) {
    shown = name;
    if (!head) return;
    if (!made[name]) made[name] = materials[name]();
    made[name].wireframe = document.getElementById("wireframe").checked;
    head.material = made[name];
    for (const button of document.querySelectorAll("[data-show]"))
      button.setAttribute("aria-pressed", String(button.dataset.show === name));
    request();
  }
  function cameras() {
    if (rigs) return rigs;
    rigs = new THREE.Group();
    const line = new THREE.LineBasicMaterial({ color: 0x3584e4 });
    for (const one of facts.cameras) {
      const corners = one.corners.map((corner) => new THREE.Vector3(...corner));
      const points = [];
      for (let k = 0; k < 4; k++)
        points.push(new THREE.Vector3(...one.centre), corners[k], corners[k], corners[(k + 1) % 4]);
      rigs.add(new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(points), line));
    }
    scene.add(rigs);
    return rigs;
  }

  new THREE.GLTFLoader().parse(bytes("glb").buffer, "", (gltf) => {
    gltf.scene.traverse((node) => { if (node.isMesh) head = node; });
    scene.add(gltf.scene);
    textured = made.texture = head.material;
    const box = new THREE.Box3().setFromObject(gltf.scene);
    box.getCenter(around.centre);
    around.distance = around.start = 1.4 * box.getSize(new THREE.Vector3()).length();
    show(shown);
    resize();
    document.getElementById("viewer-still").hidden = true;
    status.textContent = "Drag to turn, use the wheel or two fingers to zoom, or the arrow, plus and minus keys.";
    document.body.dataset.ready = "true";
  }, (error) => { status.textContent = "The head could not be drawn: " + error; });

  const fingers = new Map();
  let apart = 0;
  place.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    place.setPointerCapture(event.pointerId);
  });
  place.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 1)
      turn(around.yaw - (event.clientX - before.clientX) * 0.008, around.pitch + (event.clientY - before.clientY) * 0.008);
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()];
      const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (apart) zoom(apart / now);
      apart = now;
    }
  });
  for (const name of ["pointerup", "pointercancel"])
    place.addEventListener(name, (event) => { fingers.delete(event.pointerId); apart = 0; });
  place.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * 0.001)); }, { passive: false });
  place.addEventListener("keydown", (event) => {
    const step = 0.12, ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (ways[event.key]) turn(around.yaw + ways[event.key][0], around.pitch + ways[event.key][1]);
    else if (event.key === "+" || event.key === "=") zoom(0.9);
    else if (event.key === "-") zoom(1.1);
    else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-show]"))
    button.addEventListener("click", () => show(button.dataset.show));
  for (const button of document.querySelectorAll("[data-yaw]"))
    button.addEventListener("click", () => { around.distance = around.start; turn(Number(button.dataset.yaw) * Math.PI / 180, 0.05); });
  document.getElementById("wireframe").addEventListener("change", () => show(shown));
  const rigBox = document.getElementById("cameras");
  if (rigBox) rigBox.addEventListener("change", (event) => {
    cameras().visible = event.target.checked;
    if (event.target.checked) zoom(2);
    request();
  });
  new ResizeObserver(resize).observe(place);
  resize();
})();
