"""USDZ files of textured heads, through usd-core, which is an extra."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from protome.asset.asset import Asset
from protome.asset.gltf import jpeg, png

_ROUGHNESS = 0.85


def write_usdz(path: Path, asset: Asset) -> None:
    """Write a USDZ in millimetres (`metersPerUnit` says so), y upwards.

    An unlit head's texture is its emission, on black: viewers then add no light of their own.

    Raises:
        OSError: the library cannot write.
    """
    from pxr import Tf  # an extra, and slow to load

    try:
        _write(path, asset)
    except Tf.ErrorException as error:
        raise OSError(f"usd-core could not write {path.name}") from error


def _write(path: Path, asset: Asset) -> None:
    from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdUtils, Vt

    with tempfile.TemporaryDirectory(dir=path.parent) as held:
        (Path(held) / "colour.jpg").write_bytes(jpeg(asset.base_colour))
        stage = Usd.Stage.CreateNew(os.path.join(held, "head.usdc"))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1e-3)
        root = UsdGeom.Xform.Define(stage, "/head")
        stage.SetDefaultPrim(root.GetPrim())
        mesh = UsdGeom.Mesh.Define(stage, "/head/mesh")
        atlas, closed = asset.atlas, asset.atlas.mesh
        mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(closed.vertices.astype(np.float32)))
        mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(closed.faces), 3, np.int32)))
        mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(closed.faces.astype(np.int32).reshape(-1)))
        low, high = closed.bounds.astype(np.float32)
        mesh.CreateExtentAttr(Vt.Vec3fArray([Gf.Vec3f(*map(float, low)), Gf.Vec3f(*map(float, high))]))
        mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        corner = Vt.IntArray.FromNumpy(atlas.faces.astype(np.int32).reshape(-1))
        varying = UsdGeom.Tokens.faceVarying
        api = UsdGeom.PrimvarsAPI(mesh)
        # USD's texture coordinates begin at the lower left.
        uv = (atlas.uv * [1, -1] + [0, 1]).astype(np.float32)
        st = api.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, varying)
        st.Set(Vt.Vec2fArray.FromNumpy(uv))
        st.SetIndices(corner)
        normals = api.CreatePrimvar("normals", Sdf.ValueTypeNames.Normal3fArray, varying)
        normals.Set(Vt.Vec3fArray.FromNumpy(asset.normals().astype(np.float32)))
        normals.SetIndices(corner)
        material = UsdShade.Material.Define(stage, "/head/material")
        surface = UsdShade.Shader.Define(stage, "/head/material/surface")
        surface.CreateIdAttr("UsdPreviewSurface")
        surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(_ROUGHNESS)
        surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        reader = UsdShade.Shader.Define(stage, "/head/material/st")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
        image = UsdShade.Shader.Define(stage, "/head/material/colour")
        image.CreateIdAttr("UsdUVTexture")
        image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set("./colour.jpg")
        image.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
        image.CreateInput("wrapS", Sdf.ValueTypeNames.Token).Set("clamp")
        image.CreateInput("wrapT", Sdf.ValueTypeNames.Token).Set("clamp")
        image.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
        image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        lit = "diffuseColor"
        if asset.material == "unlit":
            surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(0, 0, 0))
            surface.CreateInput("specularColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(0, 0, 0))
            surface.CreateInput("useSpecularWorkflow", Sdf.ValueTypeNames.Int).Set(1)
            lit = "emissiveColor"
        if asset.detail is not None:
            (Path(held) / "normal.png").write_bytes(png(asset.detail.normals))
            bent = UsdShade.Shader.Define(stage, "/head/material/normal")
            bent.CreateIdAttr("UsdUVTexture")
            bent.CreateInput("file", Sdf.ValueTypeNames.Asset).Set("./normal.png")
            bent.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("raw")
            bent.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
            bent.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
            bent.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
            bent.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
            surface.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(bent.ConnectableAPI(), "rgb")
        surface.CreateInput(lit, Sdf.ValueTypeNames.Color3f).ConnectToSource(image.ConnectableAPI(), "rgb")
        surface.CreateOutput("surface", Sdf.ValueTypeNames.Token)
        material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
        stage.GetRootLayer().Save()
        if not UsdUtils.CreateNewUsdzPackage(os.path.join(held, "head.usdc"), str(path)):
            raise OSError(f"usd-core could not write {path}")
